"""One request: where it leads, who asks, what is answered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from orlop.kit.errors import LimitExceeded, OrlopError, TimedOut
from orlop.kit.tasks import in_thread
from orlop.registry import blobs, discovery, manifests, uploads
from orlop.registry.context import Context
from orlop.registry.errors import Headers, Refused
from orlop.registry.http import Request, Response
from orlop.registry.names import Route, route
from orlop.registry.upload_files import no_room
from orlop.registry.wire import Gone

_log = logging.getLogger(__name__)

Handler = Callable[[Context, Request, Route], Awaitable[Response]]

#: What leads where: kind of route -> method -> (the right that it needs, the function).
HANDLERS: dict[str, dict[str, tuple[str, Handler]]] = {
    "base": {"GET": ("", discovery.base), "HEAD": ("", discovery.base)},
    "catalog": {"GET": ("", discovery.catalog), "HEAD": ("", discovery.catalog)},
    "tags": {"GET": ("pull", discovery.tags), "HEAD": ("pull", discovery.tags)},
    "referrers": {"GET": ("pull", discovery.referrers), "HEAD": ("pull", discovery.referrers)},
    "blob": {
        "GET": ("pull", blobs.get),
        "HEAD": ("pull", blobs.get),
        "DELETE": ("delete", blobs.delete),
    },
    "manifest": {
        "GET": ("pull", manifests.get),
        "HEAD": ("pull", manifests.get),
        "PUT": ("push", manifests.put),
        "DELETE": ("delete", manifests.delete),
    },
    "uploads": {"POST": ("push", uploads.start)},
    "upload": {
        "GET": ("push", uploads.status),
        "HEAD": ("push", uploads.status),
        "PATCH": ("push", uploads.append),
        "PUT": ("push", uploads.finish),
        "DELETE": ("push", uploads.cancel),
    },
}

#: On every answer. Nothing here is a page: no browser is to guess what a blob is.
_ALWAYS: Headers = (
    ("Docker-Distribution-API-Version", "registry/2.0"),
    ("X-Content-Type-Options", "nosniff"),
)


async def dispatch(context: Context, request: Request) -> tuple[Response, str]:
    """The answer, and who asked. Raises Gone, TimeoutError (the client)."""
    user = ""
    try:
        asked = route(request.target)
        methods = HANDLERS[asked.kind]
        if request.method not in methods:
            allow = (("Allow", ", ".join(methods)),)
            raise Refused("UNSUPPORTED", f"{request.method[:20]} is not for this", headers=allow)
        right, handler = methods[request.method]
        user = await _who(context, request)
        if right:
            context.access.check(user, asked.repository, right)
        elif asked.kind == "base":
            context.access.base(user, request)
        response = await handler(context, request, asked)
    except Refused as why:
        response = refusal(why)
    except (Gone, TimeoutError):
        raise
    except OSError as error:
        response = _failed(error)
    except OrlopError as error:
        response = _failed(error)
    except Exception:  # a mistake of ours ends one request, and is seen
        _log.exception("a request failed")
        response = refusal(Refused("UNKNOWN", "failed; see the registry's log"))
    response.headers = (*_ALWAYS, *response.headers)
    return response, user


async def _who(context: Context, request: Request) -> str:
    """Raises Refused (UNAUTHORIZED)."""
    known = context.access.known(request)
    if known is not None:
        return known
    async with context.access.checks:
        return await in_thread(context.access.check_password, request)


def refusal(why: Refused) -> Response:
    """As the client is told it."""
    return Response(why.status, (("Content-Type", "application/json"), *why.headers), why.body())


def _failed(error: OSError | OrlopError) -> Response:
    """Our fault, or the disk's: the details are for our log, not for clients."""
    cause = error.__cause__ if isinstance(error, OrlopError) else error
    if isinstance(cause, OSError) and no_room(cause):
        status, words = HTTPStatus.INSUFFICIENT_STORAGE, "no room on the disk"
    elif isinstance(error, TimedOut | LimitExceeded):
        status, words = HTTPStatus.SERVICE_UNAVAILABLE, "busy; try again"
    else:
        status, words = HTTPStatus.INTERNAL_SERVER_ERROR, "failed; see the registry's log"
    _log.error("a request failed: %s", error)
    headers: Headers = (("Retry-After", "5"),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
    return refusal(Refused("UNKNOWN", words, status=status, headers=headers))
