"""A layer in another compression while it streams: one thread reads and unpacks, the caller's packs."""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from orlop.image.decompress import decompressed
from orlop.image.digest import Digest
from orlop.image.sink import Reader
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded

_PIECE = 256 * limits.KIB
_AHEAD = 4  # unpacked pieces (a MiB each) that may wait
_LOOK = 0.2  # seconds between two looks whether the work was given up
_GZIP_LEVEL = 3  # of isa-l, its best: about zlib's 2, at four times its speed
_ISAL_LEVELS = 3  # a level above is asked of zlib: no setting of isa-l packs as well
_ZSTD_LEVEL = 3


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Recompressed:
    """sink.Reader of what `reader` holds, packed as `compression` ("gzip", "zstd" or "").

    `threads` is what zstd may use beside the caller's. For one thread; `close` waits for the other.
    """

    def __init__(
        self, reader: Reader, compression: str, level: int | None, *, threads: int, subject: str
    ) -> None:
        self._packer = _packer(compression, level, threads)
        self._subject = subject
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
        self._given_up = threading.Event()
        self._rest = memoryview(b"")
        self._ended = False
        self._hash = hashlib.sha256()
        self._size = 0
        self._thread = threading.Thread(target=self._feed, args=(reader,), name="unpack", daemon=True)
        self._thread.start()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """As sink.Reader says: what the inner reader raises is raised here."""
        while not self._rest:
            if self._ended:
                return 0
            self._rest = memoryview(self._next())
            self._hash.update(self._rest)
            self._size += len(self._rest)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def describe(self) -> tuple[Digest, int]:
        """Of the packed bytes, once they have ended."""
        assert self._ended
        return Digest(f"sha256:{self._hash.hexdigest()}"), self._size

    def close(self) -> None:
        self._given_up.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
            self._thread.join(0.01)

    def __enter__(self) -> Recompressed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self) -> bytes:
        item = self._queue.get()
        if isinstance(item, BaseException):
            raise item
        if item is None:
            self._ended = True
            return self._packer.flush()
        return self._packer.compress(item)

    def _feed(self, reader: Reader) -> None:
        """The other thread: it alone touches `reader`."""
        counted = _Counted(reader, self._given_up)
        total = 0
        try:
            for piece in decompressed(counted.pieces(), self._subject):
                total += len(piece)
                self._check(total, counted.count)
                if not self._put(piece):
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: bytes | BaseException | None) -> bool:
        while not self._given_up.is_set():
            with contextlib.suppress(queue.Full):
                self._queue.put(item, timeout=_LOOK)
                return True
        return False

    def _check(self, unpacked: int, packed: int) -> None:
        bomb = unpacked > limits.RATIO_FLOOR and unpacked > packed * limits.LAYER_RATIO
        if bomb or unpacked > limits.LAYER_UNPACKED:
            raise LimitExceeded(
                self._subject,
                f"{packed} bytes unpack to more than {unpacked}",
                hint="this layer is an attack, or no layer: do not use the image",
            )


class _Counted:
    """The pieces of a reader, and how many bytes they had."""

    def __init__(self, reader: Reader, given_up: threading.Event) -> None:
        self._reader = reader
        self._given_up = given_up
        self.count = 0

    def pieces(self) -> Iterator[bytes]:
        room = memoryview(bytearray(_PIECE))
        while not self._given_up.is_set() and (count := self._reader.readinto(room)):
            self.count += count
            yield bytes(room[:count])


class _Stored:
    """No compression."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def _packer(compression: str, level: int | None, threads: int) -> _Packer:
    """Deterministic: no time and no name in a gzip's header."""
    if compression == "gzip":
        packer: _Packer = _gzip_maker(level)()
        return packer
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=level or _ZSTD_LEVEL, threads=threads).compressobj()
    return _Stored()


def _gzip_maker(level: int | None) -> Callable[[], Any]:
    if level is None or level <= _ISAL_LEVELS:
        with contextlib.suppress(ImportError):  # other architectures
            from isal import isal_zlib

            return lambda: isal_zlib.compressobj(min(level or _GZIP_LEVEL, _ISAL_LEVELS), wbits=31)
    return lambda: zlib.compressobj(level or _GZIP_LEVEL, wbits=31)
