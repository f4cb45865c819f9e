"""Compressed files, unpacked while they are read, within bounds: what they are is read from their bytes."""

from __future__ import annotations

import bz2
import itertools
import lzma
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from orlop.image.decompress import decompressed
from orlop.image.transport.layout.reading import Turn
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded

_PIECE = 256 * limits.KIB
_STEP = 1 * limits.MIB
_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_HEAD = 6
#: What no layer is packed with, but archives are.
WHOLE = ("bzip2", "xz")
_XZ_MEMORY = 256 * limits.MIB


def compression_of(head: bytes) -> str:
    """ "gzip", "zstd", "bzip2", "xz", or "" for anything else, by the first bytes."""
    return next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), "")


def pieces(stream: BinaryIO, packed: int | None, most: int, subject: str, turn: Turn) -> Iterator[bytes]:
    """The unpacked bytes of `stream`, whatever packs it. `packed` is its length where known, for the ratio.

    Raises Corrupt, LimitExceeded (more than `most` bytes, limits.LAYER_RATIO), Cancelled.
    """
    total = 0
    for piece in _unpacked(stream, subject):
        turn.check()
        total += len(piece)
        beyond = packed is not None and total > limits.RATIO_FLOOR and total > packed * limits.LAYER_RATIO
        if total > most or beyond:
            raise LimitExceeded(subject, f"unpacks to more than {total} bytes", hint="do not trust this file")
        yield piece


def spooled(stream: BinaryIO, packed: int | None, subject: str, turn: Turn) -> int:
    """All of `stream`, unpacked where it is compressed, in a file without a name; its descriptor.

    It lies in TMPDIR, else in /var/tmp: such files are too large for a /tmp in memory.
    """
    folder = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108  (a file without a name)
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces(stream, packed, limits.FILE_UNPACKED, subject, turn):
            file.write(piece)
        file.flush()
        return os.dup(file.fileno())


def _unpacked(stream: BinaryIO, subject: str) -> Iterator[bytes]:
    """gzip and zstd as layers are, and what only whole archives come in: bzip2, xz."""
    raw = iter(lambda: stream.read(_PIECE), b"")
    head = next(raw, b"")
    while len(head) < _HEAD and (more := next(raw, b"")):
        head += more
    kind = compression_of(head)
    rest = itertools.chain([head], raw) if head else iter(())
    return whole(rest, kind, subject) if kind in WHOLE else decompressed(rest, subject)


def whole(raw: Iterator[bytes], kind: str, subject: str) -> Iterator[bytes]:
    """The unpacked bytes of `raw`, packed by one of WHOLE. Bounds are the caller's. Raises Corrupt."""
    if kind == "bzip2":
        return _steps(bz2.BZ2Decompressor, raw, kind, subject)
    return _steps(lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), raw, kind, subject)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _steps(
    make: Callable[[], _Decompressor], raw: Iterator[bytes], kind: str, subject: str
) -> Iterator[bytes]:
    """Stream after stream (pbzip2 and xz -T write several), a bounded piece at a time."""
    inner = make()
    pending = b""
    while True:
        if not pending and inner.needs_input:
            pending = next(raw, b"")
            if not pending:
                raise _broken(subject, kind, "it ends too early")
        try:
            piece = inner.decompress(pending, _STEP)
        except (OSError, EOFError, lzma.LZMAError) as error:
            raise _broken(subject, kind, str(error)) from error
        pending = b""
        if piece:
            yield piece
        if inner.eof:
            pending = (inner.unused_data or next(raw, b"")).lstrip(b"\0")
            if not pending:
                return
            inner = make()


def _broken(subject: str, kind: str, why: str) -> Corrupt:
    return Corrupt(subject, f"is broken {kind}: {why}"[:300], hint="it is damaged: fetch or make it anew")
