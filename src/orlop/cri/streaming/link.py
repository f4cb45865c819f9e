"""A client's connection, underneath the protocols: bytes in and out, both with back pressure."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from orlop.kit import limits
from orlop.kit.tasks import in_thread

_ALIVE = ("01", "08")  # ESTABLISHED, and CLOSE_WAIT: our own end was first
_ROOMY = 8  # more streams of one connection than this have less memory each
_GOING = select.EPOLLRDHUP | select.EPOLLONESHOT


class Gone(Exception):
    """The other side is not there any more, or does not want this stream."""


class Departures:
    """Word that a client has closed its connection, also while nobody reads what it sent before.

    One epoll of our own in the loop's: the loop itself is only told of what can be read.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._look)

    def watch(self, descriptor: int, tell: Callable[[], None]) -> None:
        self._watched[descriptor] = tell
        with contextlib.suppress(OSError):
            self._epoll.register(descriptor, _GOING)

    def forget(self, descriptor: int) -> None:
        self._watched.pop(descriptor, None)
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _look(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            tell = self._watched.get(descriptor)
            if tell is not None:
                tell()


class Inbox:
    """What has come for one stream and waits to be taken. Who puts looks at `full`, and waits for `room`.

    `taken` is told of bytes that were, or never will be; `streams` says with how many it shares the memory.
    """

    def __init__(
        self, taken: Callable[[int], None] | None = None, streams: Callable[[], int] = lambda: 1
    ) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._unwanted = self._broken = False
        self._taken, self._streams = taken, streams
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def full(self) -> bool:
        return self._size >= limits.STREAM_BUFFER * _ROOMY // max(_ROOMY, self._streams())

    def put(self, data: bytes) -> None:
        """More came. What comes after the end, or is not wanted, is dropped."""
        if not data or self._ended:
            return
        if self._unwanted:
            if self._taken is not None:
                self._taken(len(data))
            return
        self._pieces.append(data)
        self._size += len(data)
        self._news.set()

    def finish(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._news.set()

    def discard(self) -> None:
        """Nobody takes anything from now on."""
        self._unwanted = True
        self._forget()
        self._news.set()

    def break_off(self) -> None:
        """It ends here: what was not taken is lost, and whoever reads meets Gone."""
        self._broken = True
        self._forget()
        self.finish()

    async def room(self) -> None:
        """Wait until it is not full."""
        while self.full:
            self._room.clear()
            await self._room.wait()

    async def read(self) -> bytes:
        """The next piece; empty at the end. Raises Gone."""
        while not self._pieces:
            if self._broken:
                raise Gone
            if self._ended or self._unwanted:
                return b""
            self._news.clear()
            await self._news.wait()
        data = self._pieces.popleft()
        self._account(len(data))
        return data

    def _forget(self) -> None:
        self._pieces.clear()
        self._account(self._size)

    def _account(self, size: int) -> None:
        self._size -= size
        self._room.set()
        if size and self._taken is not None:
            self._taken(size)


class Wire(Protocol):
    """What a multiplexer wants from below: a `Link`, or a WebSocket that carries one inside."""

    async def read(self) -> bytes: ...
    def write(self, *parts: bytes | memoryview) -> None: ...
    async def drain(self) -> None: ...
    async def hold(self, inbox: Inbox) -> None: ...


class Link:
    """One accepted connection. `first` is what was read already."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        departures: Departures,
        first: bytes = b"",
    ) -> None:
        self._reader, self._writer, self._departures, self._first = reader, writer, departures, first
        self.moved = time.monotonic()

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        if self._first:
            data, self._first = self._first, b""
            return data
        try:
            data = await self._reader.read(4 * limits.STREAM_CHUNK)
        except OSError:
            return b""
        self.moved = time.monotonic()
        return data

    def write(self, *parts: bytes | memoryview) -> None:
        """Raises Gone."""
        if self._writer.is_closing():
            raise Gone
        self._writer.writelines(parts)

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was written. Raises Gone."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise Gone from error
        self.moved = time.monotonic()

    async def hold(self, inbox: Inbox) -> None:
        """Wait for room in a full inbox; not for long once the client has closed. Raises Gone then."""
        us, them = (self._writer.get_extra_info(name) for name in ("sockname", "peername"))
        descriptor = self._writer.get_extra_info("socket").fileno()
        if descriptor < 0:
            raise Gone
        left = asyncio.Event()
        self._departures.watch(descriptor, left.set)
        waiting = asyncio.ensure_future(inbox.room())
        leaving = asyncio.ensure_future(left.wait())
        try:
            done: set[asyncio.Future[Any]] = set()
            while not done and not (us and them and await in_thread(_has_left, us, them)):
                done, _ = await asyncio.wait(
                    {waiting, leaving}, timeout=limits.STREAM_LOOK, return_when=asyncio.FIRST_COMPLETED
                )
            if not waiting.done():
                await asyncio.wait({waiting}, timeout=limits.STREAM_LINGER)
            if not waiting.done():
                raise Gone
        finally:
            self._departures.forget(descriptor)
            waiting.cancel()
            leaving.cancel()

    async def farewell(self) -> None:
        """Let the other side have all that was written: whoever closes with input unread cuts that off."""
        with contextlib.suppress(TimeoutError, OSError, Gone):
            async with asyncio.timeout(limits.STREAM_LINGER):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(4 * limits.STREAM_CHUNK):
                    pass

    def abort(self) -> None:
        """Close now, whatever waits."""
        self._writer.transport.abort()


def _has_left(us: tuple[Any, ...], them: tuple[Any, ...]) -> bool:
    """Whether a client on this machine has closed, with so much unsent that its FIN cannot reach us.

    We took no more, so TCP holds its end back with the rest; the kernel's table of sockets tells.
    """
    family = "tcp6" if ":" in us[0] else "tcp"
    wanted = [_as_listed(them), _as_listed(us)]
    with open(f"/proc/net/{family}", encoding="ascii") as stream:
        for line in stream:
            parts = line.split(maxsplit=4)
            if parts[1:3] == wanted:
                return parts[3] not in _ALIVE
    return False  # it is elsewhere; there its kernel gives up after some minutes, and resets


def _as_listed(name: tuple[Any, ...]) -> str:
    """An address and port as proc(5) writes them: 32-bit words of the machine's order."""
    raw = socket.inet_pton(socket.AF_INET6 if ":" in name[0] else socket.AF_INET, name[0])
    words = (raw[place : place + 4] for place in range(0, len(raw), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{name[1]:04X}"
