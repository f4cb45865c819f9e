"""tar-split (github.com/vbatts/tar-split, version 2): a tar that was taken apart is put together again.

The records, JSON lines in gzip, hold every byte that is no file's content (segments: headers, padding) and
where a file's content comes (its name and length). The contents are read from the unpacked layer's folder.
Both are hostile: the folder is entered as a container's root would be, and no device is ever opened.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

from orlop.image.decompress import decompressed
from orlop.kit import kernel, limits
from orlop.kit.errors import Corrupt, Denied, LimitExceeded

_FILE, _SEGMENT = 1, 2
_GATHERED = 512 * limits.KIB
_PIECE = 256 * limits.KIB
_RESOLVE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS | kernel.RESOLVE_NO_XDEV


def assembled(records: int, root: int, subject: str, tick: Callable[[], None]) -> Iterator[bytes]:
    """The tar's bytes, in pieces. `records` is a descriptor of the tar-split file, `root` of the folder.

    Raises Corrupt, LimitExceeded, Denied; the digest of what comes out is the caller's to check.
    """
    gathered = bytearray()
    for record in _records(records, subject):
        tick()
        kind = record.get("type")
        if kind == _SEGMENT:
            gathered += _decoded(record.get("payload"), subject)
        elif kind == _FILE:
            size = record.get("size", 0)
            if type(size) is not int or not 0 <= size < 2**63:
                raise _broken(subject, "a size is no number of bytes")
            if size:
                for piece in _content(root, _name(record, subject), size, subject):
                    gathered += piece
                    if len(gathered) >= _GATHERED:
                        yield bytes(gathered)
                        gathered.clear()
        else:
            raise _broken(subject, f"a record of kind {str(kind)[:20]!r}")
        if len(gathered) >= _GATHERED:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _records(descriptor: int, subject: str) -> Iterator[dict[str, Any]]:
    for line in _lines(descriptor, subject):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            raise _broken(subject, "a record is no JSON") from None
        if not isinstance(record, dict):
            raise _broken(subject, "a record is no object")
        yield record


def _lines(descriptor: int, subject: str) -> Iterator[bytes]:
    total = 0
    rest = b""
    for piece in decompressed(iter(lambda: os.read(descriptor, _PIECE), b""), subject):
        total += len(piece)
        *lines, rest = (rest + piece).split(b"\n")
        if total > limits.TAR_SPLIT_SIZE or len(rest) > limits.TAR_SPLIT_LINE:
            raise LimitExceeded(subject, "has records without end", hint="do not trust this storage")
        yield from (line for line in lines if line)
    if rest.strip():
        yield rest


def _content(root: int, name: bytes, size: int, subject: str) -> Iterator[bytes]:
    descriptor = _opened(root, name, subject)
    try:
        while size:
            piece = os.read(descriptor, min(size, _PIECE))
            if not piece:
                raise _broken(subject, f"{name[:200]!r} is shorter than it was")
            size -= len(piece)
            yield piece
    finally:
        os.close(descriptor)


def _opened(root: int, name: bytes, subject: str) -> int:
    """The plain file `name` below `root`: looked at before it is opened, for opening a device does things."""
    path = name.lstrip(b"/")
    try:
        found = _looked_up(root, path or b".")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise Denied(subject, f"{path[:200]!r}: {error.strerror}", hint="run as root") from error
        raise _broken(subject, f"{path[:200]!r}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise _broken(subject, f"{path[:200]!r} is no plain file any more")
        try:
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise Denied(subject, f"{path[:200]!r}: {error.strerror}", hint="run as root") from error
    finally:
        os.close(found)


def _looked_up(root: int, path: bytes) -> int:
    while True:
        try:
            return kernel.openat2(root, path, os.O_PATH | os.O_NOFOLLOW, resolve=_RESOLVE)
        except OSError as error:
            if error.errno != errno.EAGAIN:  # a rename raced with "..": the kernel asks to try again
                raise


def _name(record: dict[str, Any], subject: str) -> bytes:
    raw = record.get("name_raw")
    if raw:
        name = _decoded(raw, subject)
    else:
        text = record.get("name")
        if not isinstance(text, str):
            raise _broken(subject, "a file without a name")
        name = text.encode("utf-8", "surrogatepass")
    if not name or b"\0" in name or len(name) > limits.PATH_LENGTH:
        raise _broken(subject, "a file whose name is none")
    return name


def _decoded(value: object, subject: str) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise _broken(subject, "a payload is no text")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise _broken(subject, "a payload is no base64") from None


def _broken(subject: str, why: str) -> Corrupt:
    return Corrupt(
        subject, f"cannot be put together again: {why}", hint="pull the image anew with the tool that has it"
    )
