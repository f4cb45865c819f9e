"""Decompression of a stream of pieces, in bounded steps: no input makes more than STEP bytes at a time.

What the bytes are is read from the bytes: images exist whose media type names another compression, and the
field (containers/image, containerd) follows the magic numbers. RFC 1952 (gzip, with many members), RFC 8878
(Zstandard, with many and skippable frames); anything else is taken for an uncompressed archive.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from orlop.kit import limits
from orlop.kit.errors import Corrupt

STEP = 1 * limits.MIB
_MAGIC = 4
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = tuple(bytes((low, 0x2A, 0x4D, 0x18)) for low in range(0x50, 0x60))


def decompressed(pieces: Iterator[bytes], subject: str) -> Iterator[bytes]:
    """The unpacked bytes of `pieces`, in pieces of at most STEP bytes. Raises Corrupt."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _MAGIC:
            break
    rest = _chain(head, pieces)
    if head.startswith(_GZIP):
        return _gunzip(rest, subject)
    if head.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        return _unzstd(rest, subject)
    return rest


def _chain(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from pieces


class _Inflater(Protocol):
    """isal's IgzipDecompressor, or zlib in its likeness."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _Zlib:
    """Without isal (other architectures): the same answers, at half the speed."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._full = False  # the last answer was cut at its bound, more may be inside

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        output = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._full = len(output) == max_length
        return output


def _inflater() -> tuple[_Inflater, type[Exception]]:
    failure: type[Exception]
    try:
        from isal import igzip_lib
    except ImportError:
        return _Zlib(), zlib.error
    failure = igzip_lib.IsalError  # type: ignore[assignment]  # its stub calls it an instance
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), failure


def _gunzip(pieces: Iterator[bytes], subject: str) -> Iterator[bytes]:
    inflater, failure = _inflater()
    fresh = False  # a member ended and no byte of the next one has come
    pending = b""
    for piece in pieces:
        pending = pending + piece if pending else piece
        while pending or not (fresh or inflater.needs_input):
            if fresh:
                if len(pending) < len(_GZIP):
                    break
                if not pending.startswith(_GZIP):
                    _only_padding(pending, pieces, subject)
                    return
                inflater, fresh = _inflater()[0], False
            try:
                output = inflater.decompress(pending, STEP)
            except failure as error:
                raise _broken(subject, "gzip", str(error)) from error
            pending = b""
            if output:
                yield output
            if inflater.eof:
                pending, fresh = bytes(inflater.unused_data), True
    if not fresh:
        raise _broken(subject, "gzip", "it ends too early")
    _only_padding(pending, pieces, subject)


def _only_padding(rest: bytes, pieces: Iterator[bytes], subject: str) -> None:
    """Zeros may follow the last member, as tapes leave them; gzip(1) takes nothing else without a warning."""
    while True:
        if rest.count(0) != len(rest):
            raise _broken(subject, "gzip", "something else follows its end")
        following = next(pieces, None)
        if following is None:
            return
        rest = following


class _Source:
    """What zstandard reads from: a file of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        data = self._rest or next(self._pieces, b"")
        if 0 <= size < len(data):
            data, self._rest = data[:size], data[size:]
        else:
            self._rest = b""
        return data


def _unzstd(pieces: Iterator[bytes], subject: str) -> Iterator[bytes]:
    import zstandard

    source = _Source(pieces)
    reader = zstandard.ZstdDecompressor().stream_reader(
        source,  # type: ignore[arg-type]  # it only calls `read`
        read_size=STEP,
        read_across_frames=True,
    )
    while True:
        try:
            output = reader.read(STEP)
        except zstandard.ZstdError as error:
            raise _broken(subject, "zstd", str(error)) from error
        if not output:
            return
        yield output


def _broken(subject: str, kind: str, why: str) -> Corrupt:
    return Corrupt(subject, f"is broken {kind}: {why}", hint="pull again; if it stays so, the image is bad")
