"""end-1, end-8, end-12, and Docker's `_catalog`: what is there."""

from __future__ import annotations

import json
import urllib.parse
from http import HTTPStatus

from orlop.image.manifest import OCI_INDEX, parse
from orlop.kit import limits
from orlop.kit.tasks import in_thread
from orlop.registry.context import Context
from orlop.registry.errors import Headers, Refused
from orlop.registry.http import Request, Response
from orlop.registry.names import Route, digest

_JSON = ("Content-Type", "application/json")


async def base(context: Context, request: Request, route: Route) -> Response:
    """end-1: 200 (401 where users are known and this one is not)."""
    return Response(HTTPStatus.OK, (_JSON,), b"{}")


async def tags(context: Context, request: Request, route: Route) -> Response:
    """end-8a, end-8b: 200, 404; in the order of their bytes."""
    most, after = _page(route)
    if not await in_thread(context.repositories.exists, route.repository):
        raise Refused("NAME_UNKNOWN", "no such repository", details=({"name": route.repository},))
    found = await in_thread(context.repositories.tags, route.repository, after=after, most=most + 1)
    headers = _more(f"/v2/{route.repository}/tags/list", found, most)
    return _json({"name": route.repository, "tags": found[:most]}, headers)


async def catalog(context: Context, request: Request, route: Route) -> Response:
    """Repositories that the client may read."""
    most, after = _page(route)
    found: list[str] = []
    while len(found) <= most:  # those that it may not read do not count
        names = await in_thread(context.repositories.names, after=after, most=most + 1)
        found += [name for name in names if context.access.may(request, name, "pull")]
        if len(names) <= most:
            break
        after = names[-1]
    return _json({"repositories": found[:most]}, _more("/v2/_catalog", found, most))


async def referrers(context: Context, request: Request, route: Route) -> Response:
    """end-12a, end-12b: 200, 400; never 404, whether repository or subject are there or not."""
    subject = digest(route.item)
    wanted = (route.value("artifactType") or "").replace(" ", "+")  # a + that a client did not encode
    after = route.value("last") or ""
    entries, more = await in_thread(_referrers, context, route.repository, subject, wanted, after)
    headers: Headers = (("Content-Type", OCI_INDEX),)
    if wanted:
        headers += (("OCI-Filters-Applied", "artifactType"),)
    if more:
        query = {"last": str(entries[-1]["digest"]), **({"artifactType": wanted} if wanted else {})}
        path = f"/v2/{route.repository}/referrers/{subject}?{urllib.parse.urlencode(query)}"
        headers += (("Link", f'<{path}>; rel="next"'),)
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Response(HTTPStatus.OK, headers, json.dumps(index).encode())


def _referrers(
    context: Context, repository: str, subject: str, wanted: str, after: str
) -> tuple[list[dict[str, object]], bool]:
    """One page of descriptors, and whether there are more."""
    entries: list[dict[str, object]] = []
    size = 0
    while True:
        found = context.repositories.referrers(repository, subject, artifact_type=wanted, after=after)
        if found is None:
            return entries, False
        entry: dict[str, object] = {
            "mediaType": found.media_type,
            "digest": found.digest,
            "size": found.size,
        }
        if found.artifact_type:
            entry["artifactType"] = found.artifact_type
        annotations = parse(found.data, found.media_type).annotations
        if annotations:
            entry["annotations"] = annotations
        size += len(json.dumps(entry))
        if entries and size > limits.REGISTRY_REFERRERS:
            return entries, True
        entries.append(entry)
        after = found.digest


def _page(route: Route) -> tuple[int, str]:
    """How many, and behind which. Raises Refused."""
    given = route.value("n")
    if given is None:
        return limits.REGISTRY_PAGE, route.value("last") or ""
    if not given.isascii() or not given.isdecimal():
        status = HTTPStatus.BAD_REQUEST
        raise Refused("UNSUPPORTED", "`n` is not a number", status=status, details=({"n": given[:100]},))
    return min(int(given[:10]), limits.REGISTRY_PAGE), route.value("last") or ""


def _more(path: str, found: list[str], most: int) -> Headers:
    if not most or len(found) <= most:
        return ()
    query = urllib.parse.urlencode({"n": most, "last": found[most - 1]})
    return (("Link", f'<{path}?{query}>; rel="next"'),)


def _json(document: object, headers: Headers = ()) -> Response:
    return Response(HTTPStatus.OK, (_JSON, *headers), json.dumps(document).encode() + b"\n")
