"""Socket activation: gRPC for Python cannot serve a socket that somebody else listens on, so connections to
systemd's are taken here and carried to the daemon's own, byte by byte, in both directions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator

from orlop.kit import limits

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def relayed(sockets: list[socket.socket], path: str) -> AsyncIterator[None]:
    """For the `with` block, whoever connects to `sockets` speaks to the Unix socket `path`.

    The listening sockets stay open (they are systemd's): who connects after the end waits for the next start.
    Connections under way are closed at the end.
    """
    loop = asyncio.get_running_loop()
    fronts: set[_Front] = set()
    servers = []
    try:
        for passed in sockets:
            passed.setblocking(False)
            accepting = socket.socket(fileno=passed.dup().detach())  # the loop closes its copy only
            servers.append(
                await loop.create_server(lambda: _Front(path, fronts), sock=accepting, backlog=1024)
            )
        yield
    finally:
        for server in servers:
            server.close()
        for front in list(fronts):
            front.abort()


class _End(asyncio.Protocol):
    """One end of a connection; what comes in goes out at the other."""

    other: _End | None = None
    transport: asyncio.Transport | None = None
    early = b""  # came before the other end was connected (asyncio of Python 3.11 reads one chunk even so)
    early_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=limits.RELAY_BUFFER)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)
        elif self.transport is not None:
            self.early += data
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        other = self.other.transport if self.other is not None else None
        self.early_end = other is None
        if other is not None and other.can_write_eof() and not other.is_closing():
            other.write_eof()
        return True  # what the other end still says is carried

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    # This end is full: the other one is read no further

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _Front(_End):
    """The client's end; it is read once the daemon's end is connected."""

    def __init__(self, path: str, fronts: set[_Front]) -> None:
        self._path = path
        self._fronts = fronts
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        if len(self._fronts) >= limits.RELAY_CONNECTIONS:
            _log.warning("more than %d connections: one is refused", limits.RELAY_CONNECTIONS)
            self.transport.abort()
            return
        self._fronts.add(self)
        self.transport.pause_reading()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def connection_lost(self, exc: Exception | None) -> None:
        self._fronts.discard(self)
        if self._connecting is not None:
            self._connecting.cancel()
        super().connection_lost(exc)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def _connect(self) -> None:
        back = _End()
        back.other, self.other = self, back  # the daemon speaks first
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: back, self._path)
        except OSError as error:
            _log.warning("%s does not take a connection: %s", self._path, error)
            self.abort()
            return
        if self.transport is None or self.transport.is_closing():
            if back.transport is not None:
                back.transport.close()
            return
        assert back.transport is not None
        if self.early:
            back.transport.write(self.early)
            self.early = b""
        if self.early_end:
            back.transport.write_eof()
        self.transport.resume_reading()
