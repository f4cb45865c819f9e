"""Compressed files, unpacked while they are read, within bounds: what they are is read from their bytes."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol, cast

from orlop.image.transport.layout.reading import Turn
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded

_STEP = 1 * limits.MIB
_MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
}
_HEAD = 6
_XZ_MEMORY = 256 * limits.MIB


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def compression_of(head: bytes) -> str:
    """ "gzip", "zstd", "bzip2", "xz", or "" for anything else, by the first bytes."""
    return next((kind for magic, kind in _MAGICS.items() if head.startswith(magic)), "")


def pieces(stream: BinaryIO, kind: str, packed: int | None, subject: str, turn: Turn) -> Iterator[bytes]:
    """The unpacked bytes of `stream`. `packed` is its length where known, for the limit of the ratio.

    Raises Corrupt, LimitExceeded (limits.FILE_UNPACKED, limits.LAYER_RATIO), Cancelled.
    """
    total = 0
    reader, failures = _reader(stream, kind)
    while True:
        turn.check()
        try:
            piece = reader.read(_STEP)
        except failures as error:
            raise Corrupt(
                subject, f"is broken {kind}: {error}"[:300], hint="the file is damaged: fetch or make it anew"
            ) from error
        if not piece:
            return
        total += len(piece)
        beyond = packed is not None and total > limits.RATIO_FLOOR and total > packed * limits.LAYER_RATIO
        if total > limits.FILE_UNPACKED or beyond:
            raise LimitExceeded(subject, f"unpacks to more than {total} bytes", hint="do not trust this file")
        yield piece


def spooled(stream: BinaryIO, packed: int | None, subject: str, turn: Turn) -> int:
    """All of `stream`, unpacked where it is compressed, in a file without a name; its descriptor.

    It lies in TMPDIR, else in /var/tmp: such files are too large for a /tmp in memory.
    """
    buffered = cast(BinaryIO, _Ahead(stream))
    kind = compression_of(cast(_Ahead, buffered).peeked(_HEAD))
    folder = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108  (a file without a name)
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces(buffered, kind, packed, subject, turn):
            file.write(piece)
        file.flush()
        return os.dup(file.fileno())


class _Ahead:
    """A stream whose first bytes can be looked at before they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._head = b""

    def peeked(self, count: int) -> bytes:
        while len(self._head) < count:
            piece = self._stream.read(count - len(self._head))
            if not piece:
                break
            self._head += piece
        return self._head

    def read(self, size: int = -1, /) -> bytes:
        if not self._head:
            return self._stream.read(size)
        end = len(self._head) if size < 0 else size
        data, self._head = self._head[:end], self._head[end:]
        return data + self._stream.read(-1) if size < 0 else data


def _reader(stream: BinaryIO, kind: str) -> tuple[_Readable, tuple[type[Exception], ...]]:
    if kind == "gzip":
        try:
            from isal import igzip
        except ImportError:
            import gzip

            return gzip.GzipFile(fileobj=stream), (OSError, EOFError, zlib.error)
        from isal.isal_zlib import IsalError

        return igzip.IGzipFile(fileobj=stream), (
            OSError,
            EOFError,
            zlib.error,
            cast(type[Exception], IsalError),
        )
    if kind == "zstd":
        import zstandard

        decompressor = zstandard.ZstdDecompressor()
        reader = decompressor.stream_reader(stream, read_across_frames=True)
        return cast(_Readable, reader), (zstandard.ZstdError,)
    if kind == "bzip2":
        import bz2

        return bz2.BZ2File(stream), (OSError, EOFError)
    if kind == "xz":
        import lzma

        return _Xz(stream), (lzma.LZMAError, EOFError)
    return stream, ()


class _Xz:
    """xz within a bound of memory, which lzma.LZMAFile does not take."""

    def __init__(self, stream: BinaryIO) -> None:
        import lzma

        self._stream = stream
        self._inner = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read(self, size: int = -1, /) -> bytes:
        while not self._inner.eof:
            packed = self._stream.read(64 * limits.KIB) if self._inner.needs_input else b""
            if self._inner.needs_input and not packed:
                raise EOFError("it ends too early")
            data = self._inner.decompress(packed, size)
            if data:
                return data
        return b""
