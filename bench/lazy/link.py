"""A slow link to a server: bytes pass through at a rate, each answer after a delay. Real TCP, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

_PIECE = 64 << 10
_AHEAD = 0.005  # seconds; the loop cannot sleep much shorter


class Link:
    """`passed` is the bytes that came from the server so far."""

    def __init__(self, server: str, rate: float, delay: float) -> None:
        host, _, port = server.rpartition(":")
        self._server = (host, int(port))
        self._rate = rate
        self._delay = delay
        self._free = 0.0  # when the line is free again, by the loop's clock
        self.address = ""
        self.passed = 0

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        above_reader, above_writer = await asyncio.open_connection(*self._server)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, above_writer, paced=False))
                group.create_task(self._forward(above_reader, writer, paced=True))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            above_writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, paced: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(_PIECE):
            if paced:
                self.passed += len(data)
                self._free = max(self._free, loop.time()) + len(data) / self._rate
                if (ahead := self._free - loop.time()) > _AHEAD:
                    await asyncio.sleep(ahead)
            else:
                await asyncio.sleep(self._delay)  # a request's way there and its answer's way back
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()


@contextlib.contextmanager
def link(server: str, *, rate: float, delay: float) -> Iterator[Link]:
    """A proxy to `server` (HOST:PORT). `rate` in bytes a second for all connections, `delay` in seconds."""
    made = Link(server, rate, delay)
    loop = asyncio.new_event_loop()
    listening: asyncio.Server = loop.run_until_complete(asyncio.start_server(made.client, "127.0.0.1", 0))
    made.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(_end(listening), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
