"""Parts of a blob: the Range header (RFC 9110, 14) and Content-Range of an upload's chunk."""

from __future__ import annotations

import re
from http import HTTPStatus

from orlop.kit.value import dataclass
from orlop.registry.errors import Refused

_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*")
_CHUNK = re.compile(r"(\d{1,18})-(\d{1,18})")


@dataclass(frozen=True)
class Part:
    """`size` bytes from `offset`."""

    offset: int
    size: int


def wanted(header: str, size: int) -> Part | None:
    """The part that a Range header asks for of `size` bytes; None: all of it, as for what we do not know.

    Raises Refused (416).
    """
    found = _RANGE.fullmatch(header)
    if not found or found[1] == found[2] == "":
        return None
    if not found[1]:  # the last so many
        offset, end = max(0, size - int(found[2])), size
    else:
        offset, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if offset >= end:
        raise Refused(
            *("SIZE_INVALID", "no such range"),
            status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            headers=(("Content-Range", f"bytes */{size}"),),
        )
    return Part(offset, end - offset)


def chunk(header: str) -> Part | None:
    """What a chunk's Content-Range says; None without one. Raises Refused (BLOB_UPLOAD_INVALID)."""
    if not header:
        return None
    found = _CHUNK.fullmatch(header)
    if not found or int(found[2]) < int(found[1]):
        raise Refused("BLOB_UPLOAD_INVALID", "Content-Range is not FIRST-LAST", details=(header[:100],))
    return Part(int(found[1]), int(found[2]) - int(found[1]) + 1)
