"""A client's connection: bytes in, bytes out, files out. Plain or TLS, asyncio tells no difference here.

What the client sends waits in memory up to limits.REGISTRY_BUFFER, then the kernel holds it up. A blob goes
out by sendfile(2), where TLS does not forbid that.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import deque
from collections.abc import Callable

from orlop.kit import limits


class Gone(Exception):
    """The client has left, or was so slow that it was left."""


class Wire(asyncio.Protocol):
    """One connection; `begin` is called with it once it stands. For the loop's thread."""

    def __init__(self, begin: Callable[[Wire], None]) -> None:
        self._begin = begin
        self._transport: asyncio.Transport | None = None
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._lost = False
        self._paused = False
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.peer = ""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name = transport.get_extra_info("peername")
        self.peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "local"
        self._begin(self)

    def data_received(self, data: bytes) -> None:
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= limits.REGISTRY_BUFFER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        _done(self._news)

    def eof_received(self) -> bool:
        """Whether we may still answer: not with TLS."""
        self._ended = True
        _done(self._news)
        return self._transport is not None and not self._transport.get_extra_info("sslcontext")

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._lost = True
        _done(self._news)
        _done(self._room)

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        _done(self._room)
        self._room = None

    # our side

    async def arrived(self) -> bool:
        """Wait for something to read; False at the end."""
        while not self._pieces and not self._ended:
            self._news = asyncio.get_running_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        return bool(self._pieces)

    async def read(self) -> list[bytes]:
        """All that has come since, in pieces; empty at the end. Raises Gone where the connection broke."""
        await self.arrived()
        if not self._pieces and self._lost:
            raise Gone
        pieces = list(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return pieces

    def unread(self, data: bytes) -> None:
        """Put back what belongs to the next request."""
        if data:
            self._pieces.appendleft(data)
            self._held += len(data)

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises Gone."""
        if self._lost or self._transport is None or self._transport.is_closing():
            raise Gone
        self._transport.write(data)
        if self._room is not None:
            async with asyncio.timeout(limits.REGISTRY_BODY_TIME):
                await asyncio.shield(self._room)
        if self._lost:
            raise Gone

    async def send_file(self, file: io.FileIO, offset: int, count: int) -> None:
        """`count` bytes of the file. Raises Gone; TimeoutError for a client that does not take them."""
        loop = asyncio.get_running_loop()
        while count > 0:
            if self._lost or self._transport is None or self._transport.is_closing():
                raise Gone
            part = min(count, limits.REGISTRY_SEND)
            try:
                async with asyncio.timeout(limits.REGISTRY_BODY_TIME):
                    sent = await loop.sendfile(self._transport, file, offset, part)
            except (ConnectionError, RuntimeError) as error:  # RuntimeError: it is closing
                raise Gone from error
            if sent < part:  # the file is shorter than it should be: the length that was promised is wrong
                raise Gone
            offset += sent
            count -= sent

    def end(self) -> None:
        """We send nothing more; what was written still goes out."""
        if self._transport is not None and self._transport.can_write_eof() and not self._lost:
            with contextlib.suppress(OSError):
                self._transport.write_eof()

    def close(self) -> None:
        """What was written still goes out."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _done(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
