"""Errors as gRPC statuses (grpc/status.md): the kind as the code, what a person needs as the message."""

from __future__ import annotations

import logging

from grpc import StatusCode

from orlop.kit import errors, limits
from orlop.kit.value import dataclass

_log = logging.getLogger(__name__)

#: The first that an error is an instance of.
_CODES: tuple[tuple[type[errors.OrlopError], StatusCode], ...] = (
    (errors.InvalidInput, StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, StatusCode.NOT_FOUND),
    (errors.Conflict, StatusCode.FAILED_PRECONDITION),
    (errors.Denied, StatusCode.PERMISSION_DENIED),
    (errors.TimedOut, StatusCode.DEADLINE_EXCEEDED),
    (errors.Unavailable, StatusCode.UNAVAILABLE),
    (errors.Corrupt, StatusCode.DATA_LOSS),
    (errors.LimitExceeded, StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unsupported, StatusCode.UNIMPLEMENTED),
    (errors.Cancelled, StatusCode.CANCELLED),
    (errors.ProcessFailed, StatusCode.INTERNAL),
)


@dataclass(frozen=True)
class Failure:
    """How an RPC failed, as its client hears it."""

    code: StatusCode
    message: str


def failure(method: str, error: BaseException) -> Failure:
    """The status of an error; one that is nobody's but ours is logged with its traceback."""
    if isinstance(error, errors.OrlopError):
        return Failure(_code(error), _shortened(f"{error.subject}: {error.cause} ({error.hint})"))
    _log.error("%s failed: %s", method, error, exc_info=error)
    words = _shortened(f"{method}: {type(error).__name__}: {error}")
    return Failure(StatusCode.INTERNAL, f"{words} (see the daemon's log)")


def _shortened(text: str) -> str:
    """What a client can take: a request or an image may have brought megabytes into it, or no text at all."""
    if len(text) > limits.CRI_ERROR:
        text = text[: limits.CRI_ERROR // 2] + " ... " + text[-limits.CRI_ERROR // 2 :]
    return text.encode(errors="replace").decode()


def _code(error: errors.OrlopError) -> StatusCode:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return StatusCode.UNKNOWN
