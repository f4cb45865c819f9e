"""Non-blocking descriptors (pipes, terminals, sockets) on the loop, joined to the streams of a client."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import termios
from collections.abc import Callable
from typing import Any, Protocol

from orlop.kit import limits


class Source(Protocol):
    """What a client sends: pieces, then the end (an empty one)."""

    async def read(self) -> bytes: ...


class Sink(Protocol):
    """What a client is sent. Both raise Gone."""

    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


async def readable(descriptor: int) -> None:
    """Wait until there is something to read, or the end."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_reader(descriptor, _done, future)
    try:
        await future
    finally:
        loop.remove_reader(descriptor)


async def writable(descriptor: int) -> None:
    """Wait until something may be written, or it is closed."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.add_writer(descriptor, _done, future)
    try:
        await future
    finally:
        loop.remove_writer(descriptor)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def write_all(send: Callable[[memoryview], int], descriptor: int, data: bytes) -> None:
    """Give all of `data` to `send`, which does not block. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[send(view) :]
        except BlockingIOError:
            await writable(descriptor)


class Output:
    """From a descriptor to a client. `ended`: whoever wrote has, so what is there now is all there is.

    A terminal (`to_end`) is read to its end all the same: nobody else holds it open, and its last bytes may
    still be on their way through the kernel.
    """

    def __init__(self, descriptor: int, sink: Sink, *, to_end: bool) -> None:
        self._descriptor, self._sink, self._to_end = descriptor, sink, to_end
        self._ended = False
        self._news: asyncio.Future[None] | None = None

    def ended(self) -> None:
        self._ended = True
        if self._news is not None and not self._to_end:
            _done(self._news)

    async def run(self) -> None:
        """Returns when all was sent. Raises Gone."""
        left: int | None = None
        while left is None or left > 0:
            if left is None and self._ended and not self._to_end:
                left = _waiting(self._descriptor)
                continue
            try:
                data = os.read(self._descriptor, limits.STREAM_CHUNK if left is None else left)
            except BlockingIOError:
                await self._wait()
                continue
            except OSError as error:
                if error.errno != errno.EIO:  # a terminal's way to say that it ends
                    raise
                data = b""
            if not data:
                return
            if left is not None:
                left -= len(data)
            await self._sink.write(data)

    async def _wait(self) -> None:
        """Until there is something to read, or the writer has ended."""
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        loop.add_reader(self._descriptor, _done, self._news)
        try:
            await self._news
        finally:
            loop.remove_reader(self._descriptor)
            self._news = None


def _waiting(descriptor: int) -> int:
    """How many bytes can be read at once."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


async def stopped(*tasks: asyncio.Future[Any]) -> None:
    """Cancel them and wait until they have ended; their errors are of no interest any more."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
