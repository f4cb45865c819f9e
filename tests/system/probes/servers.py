"""Things to probe: real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def answering(
    answer: bytes | Callable[[bytes], bytes], *, secure: ssl.SSLContext | None = None, delay: float = 0.0
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that reads a request's head, keeps it, and sends `answer`; yields its port and the heads."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            await asyncio.sleep(delay)
            writer.write(answer if isinstance(answer, bytes) else answer(head))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=secure)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()


def http(status: int, body: str = "", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Any", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()
