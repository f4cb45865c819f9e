"""ttrpc: calls of protobuf messages over a stream of bytes, without HTTP (containerd/ttrpc, PROTOCOL.md).

A message is 4 bytes of length, 4 bytes of the stream's number (both big-endian), a byte for its type and one
for flags, then a Request or a Response. Only calls of one request and one answer are used by NRI; data of
streams is refused.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError

from orlop.cri.nri.errors import (
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    UNKNOWN,
    Broken,
    Oversized,
    RemoteError,
)
from orlop.cri.nri.proto import ttrpc_pb2 as pb
from orlop.kit import limits
from orlop.kit.errors import OrlopError

REQUEST, RESPONSE, DATA = 1, 2, 3

_HEADER = struct.Struct("!IIBB")
#: The Go implementation reads a connection through a buffer of this size and cannot take a longer piece into
#: it, unless the piece is exactly what it waits for: so a longer message is sent as header and body.
_BUFFER = 4096

_M = TypeVar("_M", pb.Request, pb.Response)
#: Sends these pieces, in this order and with nothing between them.
Send = Callable[..., Awaitable[None]]
#: The answer's bytes to a request's bytes.
Handler = Callable[[bytes], Awaitable[bytes]]


class Messages:
    """Takes a stream apart into messages: (stream's number, type, body)."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The messages that are whole now. Raises Broken where one is larger than any may be."""
        self._held += data
        while len(self._held) >= _HEADER.size:
            length, stream, kind, _flags = _HEADER.unpack_from(self._held)
            if length > limits.NRI_MESSAGE:
                raise Broken(f"a message of {length} bytes")
            end = _HEADER.size + length
            if len(self._held) < end:
                return
            body = bytes(self._held[_HEADER.size : end])
            del self._held[:end]
            yield stream, kind, body


async def send_message(send: Send, stream: int, kind: int, body: bytes) -> None:
    """Raises Oversized, Broken."""
    if len(body) > limits.NRI_MESSAGE:
        raise Oversized(len(body))
    header = _HEADER.pack(len(body), stream, kind, 0)
    if len(header) + len(body) <= _BUFFER:
        await send(header + body)
    else:
        await send(header, body)


class Client:
    """The calling side of one connection."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._messages = Messages()
        self._next = 1  # a caller's streams have odd numbers, growing
        self._waiting: dict[int, asyncio.Future[pb.Response]] = {}
        self._broken: Broken | None = None

    async def call(self, service: str, method: str, payload: bytes, *, seconds: float) -> bytes:
        """The answer. Raises RemoteError, Broken, Oversized, and TimeoutError after so many seconds."""
        if self._broken is not None:
            raise self._broken
        request = pb.Request(service=service, method=method, payload=payload, timeout_nano=int(seconds * 1e9))
        stream, self._next = self._next, self._next + 2
        future = self._waiting[stream] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await send_message(self._send, stream, REQUEST, request.SerializeToString())
                answer = await future
        finally:
            self._waiting.pop(stream, None)
            future.cancel()
        if answer.status.code:
            raise RemoteError(answer.status.code, answer.status.message)
        return bytes(answer.payload)

    def received(self, data: bytes) -> None:
        """Bytes of the connection. Raises Broken."""
        for stream, kind, body in self._messages.feed(data):
            future = self._waiting.get(stream)
            if kind != RESPONSE or future is None or future.done():
                continue  # the answer to a call that nobody waits for any more
            future.set_result(_parsed(pb.Response, body))

    def close(self, reason: Broken) -> None:
        """Every call, now and later, raises this."""
        self._broken = self._broken or reason
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(self._broken)


class Server:
    """The answering side of one connection. `handlers`: (service, method) -> handler."""

    def __init__(self, send: Send, handlers: Mapping[tuple[str, str], Handler]) -> None:
        self._send = send
        self._handlers = handlers
        self._messages = Messages()
        self._last = 0
        self._busy = 0
        self._running: set[asyncio.Task[None]] = set()

    def received(self, data: bytes) -> None:
        """Bytes of the connection; requests are answered in tasks of their own. Raises Broken."""
        for stream, kind, body in self._messages.feed(data):
            if len(self._running) > 2 * limits.NRI_CALLS:
                raise Broken("it asks and does not read the answers")
            if kind == REQUEST and stream % 2 == 1 and stream > self._last:
                self._last = stream
                answer = self._answer(_parsed(pb.Request, body))
            else:
                answer = _failure(INVALID_ARGUMENT, "only calls of one request and one answer are taken")
            task = asyncio.ensure_future(self._respond(stream, answer))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def close(self) -> None:
        for task in self._running:
            task.cancel()

    async def _respond(self, stream: int, answer: Awaitable[pb.Response]) -> None:
        try:
            response = await answer
            await send_message(self._send, stream, RESPONSE, response.SerializeToString())
        except Oversized as error:
            refusal = await _failure(RESOURCE_EXHAUSTED, f"the answer is too large: {error}")
            await send_message(self._send, stream, RESPONSE, refusal.SerializeToString())
        except Broken:
            pass  # nobody is there to hear it

    async def _answer(self, request: pb.Request) -> pb.Response:
        handler = self._handlers.get((request.service, request.method))
        if handler is None:
            return await _failure(UNIMPLEMENTED, f"{request.service}.{request.method} is not known here")
        if self._busy >= limits.NRI_CALLS:
            return await _failure(RESOURCE_EXHAUSTED, f"{limits.NRI_CALLS} calls are under way already")
        self._busy += 1
        try:
            return pb.Response(status=pb.Status(), payload=await handler(bytes(request.payload)))
        except RemoteError as error:
            return await _failure(error.code, str(error))
        except OrlopError as error:
            return await _failure(UNKNOWN, str(error))
        finally:
            self._busy -= 1


async def _failure(code: int, message: str) -> pb.Response:
    return pb.Response(status=pb.Status(code=code, message=message))


def _parsed(kind: type[_M], body: bytes) -> _M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise Broken("a message that is no protobuf") from error
