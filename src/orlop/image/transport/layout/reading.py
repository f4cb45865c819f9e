"""Bytes of a file, or of a part of one, checked against a digest and a size while they are read."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor
from orlop.image.sink import Reader
from orlop.image.transport.source import BadBytes
from orlop.kit import limits
from orlop.kit.errors import Cancelled, Corrupt, LimitExceeded
from orlop.kit.progress import Meter
from orlop.kit.tasks import Cancellation

_PIECE = 1 * limits.MIB


class Raw(Protocol):
    """A stream of bytes that nobody has checked; 0 is its end."""

    def readinto(self, buffer: memoryview, /) -> int: ...


class Turn:
    """Whether a transport may go on: not once it was closed or its caller cancelled. For many threads."""

    def __init__(self, cancellation: Cancellation | None = None) -> None:
        self._cancellation = cancellation or Cancellation()
        self._closed = threading.Event()

    def check(self) -> None:
        """Raises Cancelled."""
        self._cancellation.check()
        if self._closed.is_set():
            raise Cancelled("the transfer", "was closed", hint="run the command again")

    def close(self) -> None:
        self._closed.set()


class Region:
    """A part of an open file: `size` bytes from `offset`. Owns `descriptor`; for one thread."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = offset
        self._left = size
        self.size = size

    def readinto(self, buffer: memoryview, /) -> int:
        room = buffer[: self._left]
        if not room:
            return 0
        count = os.preadv(self._descriptor, [room], self._at)
        self._at += count
        self._left -= count
        return count

    def read_all(self, limit: int, subject: str) -> bytes:
        """Everything. Raises LimitExceeded where that is more than `limit` bytes."""
        if self.size > limit:
            raise LimitExceeded(
                subject, f"has {self.size} bytes, at most {limit} are read", hint="do not trust this image"
            )
        room = memoryview(bytearray(self.size))
        filled = 0
        while count := self.readinto(room[filled:]):
            filled += count
        return bytes(room[:filled])

    def stream(self) -> io.BufferedReader:
        """As a file object; what it reads beyond what was asked for is lost to `readinto`."""
        return io.BufferedReader(_Stream(self), 256 * limits.KIB)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Stream(io.RawIOBase):
    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object, /) -> int:
        return self._raw.readinto(memoryview(buffer))  # type: ignore[arg-type]  # BufferedReader's own


class Pieces:
    """Raw over an iterator of bytes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        while not self._piece:
            following = next(self._pieces, None)
            if following is None:
                return 0
            self._piece = memoryview(following)
        part = self._piece[: len(buffer)]
        buffer[: len(part)] = part
        self._piece = self._piece[len(part) :]
        return len(part)


class VerifiedReader:
    """sink.Reader: raises BadBytes instead of an end where digest or size are not those of `blob`."""

    def __init__(self, blob: Descriptor, raw: Raw, turn: Turn, meter: Meter, place: str) -> None:
        import hashlib

        self._blob = blob
        self._raw = raw
        self._turn = turn
        self._meter = meter
        self._place = place
        self._hash = hashlib.new(blob.digest.algorithm)
        self._count = 0
        self._verified = False

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Raises BadBytes, Cancelled."""
        view = memoryview(buffer)
        if self._verified or not view:
            return 0
        self._turn.check()
        count = self._raw.readinto(view)
        if count == 0:
            self._finish()
            return 0
        self._count += count
        if self._count > self._blob.size:
            raise self._bad(f"is longer than the {self._blob.size} bytes of its descriptor")
        self._hash.update(view[:count])
        self._meter.advance(count)
        return count

    def _finish(self) -> None:
        if self._count != self._blob.size:
            raise self._bad(f"has {self._count} bytes, its descriptor says {self._blob.size}")
        found = f"{self._blob.digest.algorithm}:{self._hash.hexdigest()}"
        if found != self._blob.digest:
            raise self._bad(f"has the digest {found}")
        self._verified = True

    def _bad(self, cause: str) -> BadBytes:
        return BadBytes(
            f"blob {self._blob.digest}",
            f"{cause}, in {self._place}",
            hint="the copy there is damaged or forged: make it anew from where the image came from",
        )


def receive(blob: Descriptor, reader: Reader, write: Callable[[memoryview], None], turn: Turn) -> None:
    """Take all of `reader`, checked against `blob`. Raises Corrupt before more than its size was written."""
    import hashlib

    found = hashlib.new(blob.digest.algorithm)
    buffer = memoryview(bytearray(_PIECE))
    size = 0
    while count := reader.readinto(buffer):
        turn.check()
        size += count
        if size > blob.size:
            break
        found.update(buffer[:count])
        write(buffer[:count])
    digest = f"{blob.digest.algorithm}:{found.hexdigest()}"
    if size != blob.size or digest != blob.digest:
        raise Corrupt(
            f"blob {blob.digest}",
            f"what arrived has {'at least ' if size > blob.size else ''}{size} bytes and the digest {digest},"
            f" not {blob.size} bytes",
            hint="the image is damaged where it comes from: make it there anew",
        )


def checked(data: bytes, digest: Digest, subject: str) -> bytes:
    """`data`, which has this digest. Raises Corrupt."""
    found = Digest.of(data, digest.algorithm)
    if found != digest:
        raise Corrupt(
            f"{subject}: {digest}", f"its content has the digest {found}", hint="the copy there is damaged"
        )
    return data
