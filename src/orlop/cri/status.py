"""Errors as gRPC statuses (grpc/status.md): the kind as the code, what a person needs as the message."""

from __future__ import annotations

import logging

from grpc import StatusCode

from orlop.kit import errors
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
        return Failure(_code(error), f"{error.subject}: {error.cause} ({error.hint})")
    _log.error("%s failed: %s", method, error, exc_info=error)
    return Failure(StatusCode.INTERNAL, f"{method}: {type(error).__name__}: {error} (see the daemon's log)")


def _code(error: errors.OrlopError) -> StatusCode:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return StatusCode.UNKNOWN
