"""Archives as a context and for ADD: what they are is read from their bytes; then the store's own extractor.

So every rule for layers holds here too (tests/store/corpus.py). One more: an archive that is no layer has no
whiteouts, whose names would take files away once the result is a layer.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable, Iterator
from typing import Protocol

from orlop.image.decompress import decompressed
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded, OrlopError, Unavailable
from orlop.store.errors import HostileArchive
from orlop.store.model import StoreSettings
from orlop.store.unpack import tar
from orlop.store.unpack.extract import Extractor
from orlop.store.unpack.files import FileWriter

_PIECE = 256 * limits.KIB
_STEP = 1 * limits.MIB
_WHITEOUT = b".wh."
_MAGIC = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00")
_LZMA_MEMORY = 256 * limits.MIB
_HEAD = 512


class Readable(Protocol):
    """A stream, or what is like one."""

    def read(self, size: int = -1, /) -> bytes: ...


class Seekable(Readable, Protocol):
    def seek(self, offset: int, /) -> object: ...


def is_archive(stream: Readable, subject: str) -> bool:
    """Whether it is a tar archive, compressed (gzip, bzip2, xz, zstd) or not. Reads only its start."""
    seen: list[bytes] = []
    try:
        pieces = unpacked(_pieces(stream, lambda: None), subject)
        for piece in pieces:
            seen.append(piece)
            if sum(map(len, seen)) >= _HEAD:
                break
        waiting = [b"".join(seen)]
        if len(waiting[0]) < _HEAD or waiting[0][:_HEAD] == bytes(_HEAD):
            return _looks_like_tar(waiting[0])
        head = waiting[0]

        def next_piece() -> bytes | None:
            return waiting.pop() if waiting else next(pieces, None)

        found = tar.Archive(next_piece, subject).entry()
    except (OrlopError, OSError):
        return _looks_like_tar(b"".join(seen))
    return found is not None or _looks_like_tar(head)


def _looks_like_tar(head: bytes) -> bool:
    """By the magic of POSIX and GNU: then what is wrong with the rest is an error, no mere file."""
    return head[257:262] == b"ustar"


def unpack(
    stream: Readable,
    folder: str,
    subject: str,
    *,
    settings: StoreSettings | None = None,
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Extract the archive into the empty `folder`; returns the bytes unpacked.

    Raises HostileArchive, Corrupt, LimitExceeded, Unavailable; the folder then holds rubbish.
    """
    chosen = settings or StoreSettings()
    counted = _Counted(_pieces(stream, tick))
    pieces = _bounded(unpacked(counted, subject), counted, chosen, subject)
    writer = FileWriter(folder, subject, lambda file, before, count: None)
    extractor = Extractor(
        writer,
        subject,
        unpacked_limit=chosen.layer_unpacked_limit,
        entries_limit=chosen.layer_entries_limit,
    )
    try:
        extractor.run(_Plain(lambda: next(pieces, None), subject))
        for _ in pieces:  # a truncated or bad end is an error too
            pass
    except OSError as error:
        raise Unavailable(
            subject,
            f"cannot be unpacked: {error.strerror or error}",
            hint="see that the disk has room (df -h, df -i) and that this runs as root; then try again",
        ) from error
    finally:
        writer.close()
    return extractor.size


class _Plain(tar.Archive):
    """An archive of files, not of a layer's changes."""

    def __init__(self, next_piece: Callable[[], bytes | None], subject: str) -> None:
        super().__init__(next_piece, subject)
        self._what = subject

    def entry(self) -> tar.Entry | None:
        found = super().entry()
        if found is not None and _WHITEOUT in found.name:
            parts = found.name.split(b"/")
            if any(part.startswith(_WHITEOUT) for part in parts):
                shown = repr(found.name[:200].decode(errors="backslashreplace"))
                raise HostileArchive(
                    self._what,
                    f"its archive has a whiteout: {shown}",
                    hint="only layers have such names; rename the file",
                )
        return found


class _Counted:
    """Pieces, and how many bytes of them were taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self.count += len(piece)
        return piece


def _pieces(stream: Readable, tick: Callable[[], None]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        tick()
        yield piece


def _bounded(
    pieces: Iterator[bytes], packed: _Counted, settings: StoreSettings, subject: str
) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > settings.layer_unpacked_limit + settings.layer_entries_limit * 2 * tar.BLOCK:
            raise LimitExceeded(
                subject,
                f"unpacks to more than {settings.layer_unpacked_limit} bytes",
                hint="raise [store] layer_unpacked_limit if you trust it",
            )
        if total > limits.RATIO_FLOOR and total > packed.count * settings.layer_ratio_limit:
            raise LimitExceeded(
                subject,
                f"unpacks to more than {settings.layer_ratio_limit} times its size: a bomb",
                hint="raise [store] layer_ratio_limit if you trust it",
            )
        yield piece


def unpacked(pieces: Iterator[bytes], subject: str) -> Iterator[bytes]:
    """The unpacked bytes, whatever the compression; plain ones as they are. Raises Corrupt."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= max(map(len, _MAGIC)):
            break
    whole = _chained(head, pieces)
    if head.startswith(b"BZh"):
        return _inflated(whole, _Bzip2(), subject)
    if head.startswith(b"\xfd7zXZ\x00"):
        return _inflated(whole, _Xz(), subject)
    return decompressed(whole, subject)


def _chained(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from pieces


class _Bzip2:
    name = "bzip2"

    def new(self) -> bz2.BZ2Decompressor:
        return bz2.BZ2Decompressor()


class _Xz:
    name = "xz"

    def new(self) -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)


def _inflated(pieces: Iterator[bytes], kind: _Bzip2 | _Xz, subject: str) -> Iterator[bytes]:
    """Streams one after the other, with zeros between and behind them, in bounded steps."""
    inflater = kind.new()
    fresh = False
    for piece in pieces:
        pending = piece
        while True:
            if fresh:
                pending = pending.lstrip(b"\0")
                if not pending:
                    break
                inflater, fresh = kind.new(), False
            try:
                output = inflater.decompress(pending, _STEP)
            except (OSError, lzma.LZMAError, EOFError, ValueError) as error:
                raise _broken(subject, kind.name, str(error)) from error
            pending = b""
            if output:
                yield output
            if inflater.eof:
                pending, fresh = inflater.unused_data, True
                continue
            if inflater.needs_input:
                break
    if not fresh:
        raise _broken(subject, kind.name, "it ends too early")


def _broken(subject: str, kind: str, why: str) -> Corrupt:
    return Corrupt(subject, f"is broken {kind}: {why}", hint="fetch it again; if it stays so, it is bad")
