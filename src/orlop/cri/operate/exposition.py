"""The listener that Prometheus asks: GET /metrics over HTTP/1.1, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import h11

from orlop.kit import limits
from orlop.kit.errors import Conflict
from orlop.kit.tasks import in_thread

Page = Callable[[], bytes]


@contextlib.asynccontextmanager
async def exposed(host: str, port: int, page: Page, content_type: str) -> AsyncIterator[tuple[str, int]]:
    """Serve what `page` gives (asked in a worker thread) for the `with` block; yields where.

    Raises Conflict where the address is taken or is none of this machine's.
    """
    slots = asyncio.Semaphore(limits.METRICS_CONNECTIONS)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not slots.locked():  # else: too many at once, closed without an answer
                async with slots:
                    await _conversation(reader, writer, page, content_type)
        except (OSError, h11.RemoteProtocolError, TimeoutError):
            pass  # it went away, is too slow, or speaks something else
        finally:
            writer.close()

    try:
        server = await asyncio.start_server(connected, host, port, limit=limits.METRICS_REQUEST)
    except OSError as error:
        raise Conflict(
            f"[serve] metrics_address {host}:{port}",
            f"cannot be listened on: {error.strerror or error}",
            hint="choose another port, or see who has it: ss -ltnp",
        ) from error
    try:
        address = server.sockets[0].getsockname()
        yield address[0], address[1]
    finally:
        server.close()


async def _conversation(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: Page, content_type: str
) -> None:
    """Requests of one connection, one after the other."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.METRICS_REQUEST)
    while True:
        async with asyncio.timeout(limits.METRICS_TIME * 12):  # Prometheus keeps its connection open
            request = await _request(connection, reader)
        if request is None:
            return
        async with asyncio.timeout(limits.METRICS_TIME):
            status, body, kind = await _answer(request, page, content_type)
            headers = [("content-type", kind), ("content-length", str(len(body)))]
            data = connection.send(h11.Response(status_code=status, headers=headers)) or b""
            if request.method != b"HEAD":
                data += connection.send(h11.Data(data=body)) or b""
            data += connection.send(h11.EndOfMessage()) or b""
            writer.write(data)
            await writer.drain()
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The next request, its body read past; None at the end of the connection."""
    request = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(limits.METRICS_REQUEST))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


async def _answer(request: h11.Request, page: Page, content_type: str) -> tuple[int, bytes, str]:
    if request.method not in (b"GET", b"HEAD"):
        return 405, b"GET /metrics\n", "text/plain"
    if request.target.partition(b"?")[0] != b"/metrics":
        return 404, b"metrics are at /metrics\n", "text/plain"
    return 200, await in_thread(page), content_type
