"""HTTP/1.1 of the registry (RFC 9110, RFC 9112): h11 reads and writes what is not a body of known length.

Each request has an h11 connection of its own, which judges the head (malformed ones are refused) and takes a
chunked body apart. A body of known length, and a file that is the answer, pass it by.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

import h11

from orlop.kit import limits
from orlop.registry.errors import Headers, Refused
from orlop.registry.wire import Gone, Wire

_TOO_LONG = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
_BARE = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@dataclasses.dataclass
class FileBody:
    """`size` bytes from `offset` of an open file; whoever sends it closes it."""

    file: io.FileIO
    offset: int
    size: int


@dataclasses.dataclass
class Response:
    """`size` is what Content-Length says where the body is not sent (HEAD)."""

    status: HTTPStatus
    headers: Headers = ()
    body: bytes | FileBody = b""
    size: int | None = None

    def length(self) -> int:
        if self.size is not None:
            return self.size
        return self.body.size if isinstance(self.body, FileBody) else len(self.body)


class Body:
    """What the client sends behind the head. Read once."""

    def __init__(self, wire: Wire, http: h11.Connection, length: int | None, *, expected: bool) -> None:
        """`length` is None for a chunked one; `expected`: the client waits to hear that it is wanted."""
        self._wire, self._http = wire, http
        self.length = length
        self._left = length
        self._expected = expected
        self._begun = False
        self._patience = limits.REGISTRY_BODY_TIME
        self._arrived = 0
        self.ended = length == 0

    @property
    def declined(self) -> bool:
        """Nothing of it was asked for yet, and so the client has not begun to send it."""
        return self._expected and not self.ended

    async def pieces(self) -> AsyncIterator[list[bytes]]:
        """To its end, as it comes. Raises Gone, Refused, TimeoutError (too slow)."""
        if self._expected:
            self._expected = False
            await self._wire.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._left is None:
            async for piece in self._chunks():
                yield piece
            return
        if not self._begun and not self.ended:
            self._begun = True
            self._wire.unread(self._http.trailing_data[0])
        while not self.ended:
            yield self._cut(await self._more())

    async def _chunks(self) -> AsyncIterator[list[bytes]]:
        gathered: list[bytes] = []
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    if gathered:
                        yield gathered
                        gathered = []
                    self._http.receive_data(b"".join(await self._more()))
                elif isinstance(event, h11.Data):
                    gathered.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    self.ended = True
                    self._wire.unread(self._http.trailing_data[0])
                    if gathered:
                        yield gathered
                    return
                else:
                    raise Gone
        except h11.RemoteProtocolError as error:
            raise Refused("BLOB_UPLOAD_INVALID", f"the body is malformed: {error}") from error

    async def _more(self) -> list[bytes]:
        """What came. Raises Gone, and TimeoutError for a client that brings too little in the time it has."""
        begun = time.monotonic()
        async with asyncio.timeout(self._patience):
            pieces = await self._wire.read()
        if not pieces:
            raise Gone
        self._patience -= time.monotonic() - begun
        self._arrived += sum(map(len, pieces))
        if self._arrived >= limits.REGISTRY_BODY_PIECE:
            self._patience, self._arrived = limits.REGISTRY_BODY_TIME, 0
        return pieces

    def _cut(self, pieces: list[bytes]) -> list[bytes]:
        """What belongs to this body; the rest is the next request's."""
        assert self._left is not None
        mine: list[bytes] = []
        for place, piece in enumerate(pieces):
            if len(piece) >= self._left:
                mine.append(piece[: self._left])
                self._wire.unread(b"".join([piece[self._left :], *pieces[place + 1 :]]))
                self._left = 0
                self.ended = True
                return mine
            mine.append(piece)
            self._left -= len(piece)
        return mine

    async def all(self, most: int) -> bytes:
        """All of it. Raises Refused (413) where it is longer than `most`."""
        if self.length is not None and self.length > most:
            raise too_large(most)
        data = bytearray()
        async for pieces in self.pieces():
            for piece in pieces:
                data += piece
            if len(data) > most:
                raise too_large(most)
        return bytes(data)

    async def skip(self, most: int) -> bool:
        """Take what is left of it, if that is little, so that the connection can be used again."""
        if self.ended:
            return True
        if self.declined or (self._left is not None and self._left > most):
            return False
        taken = 0
        async for pieces in self.pieces():
            taken += sum(map(len, pieces))
            if taken > most:
                return False
        return True


@dataclasses.dataclass
class Request:
    """`target` is path and query as they came; header names are in lower case."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: Body
    keep: bool

    def header(self, name: str) -> str:
        """The first of this name, or ""."""
        return next((value for key, value in self.headers if key == name), "")


def too_large(most: int) -> Refused:
    return Refused("SIZE_INVALID", f"larger than {most} bytes", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


async def receive(wire: Wire) -> Request | None:
    """The head of the next request; None where the client leaves without one. Raises Refused, Gone."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.REGISTRY_HEADERS)
    asked: h11.Request | None = None
    fed = 0
    try:
        while asked is None:
            event = http.next_event()
            if event is h11.NEED_DATA:
                data = b"".join(await wire.read())
                if fed >= limits.REGISTRY_HEADERS:
                    raise Refused("UNSUPPORTED", "too long", status=_TOO_LONG)
                wire.unread(data[limits.REGISTRY_HEADERS - fed :])  # h11 bounds only what has no end yet
                http.receive_data(data[: limits.REGISTRY_HEADERS - fed])
                fed = min(fed + len(data), limits.REGISTRY_HEADERS)
            elif isinstance(event, h11.Request):
                asked = event
            else:
                return None
        return _request(wire, http, asked)
    except h11.RemoteProtocolError as error:
        status = HTTPStatus(error.error_status_hint)
        raise Refused("UNSUPPORTED", f"not HTTP as we know it: {error}", status=status) from error


def _request(wire: Wire, http: h11.Connection, asked: h11.Request) -> Request:
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in asked.headers)
    lengths = [int(value) for name, value in headers if name == "content-length"]
    length: int | None = lengths[0] if lengths else 0
    if any(name == "transfer-encoding" for name, _ in headers):  # h11 lets only `chunked` pass
        if lengths:  # a proxy in front may believe the other one: RFC 9112, 6.3
            status = HTTPStatus.BAD_REQUEST
            raise Refused("UNSUPPORTED", "both Content-Length and Transfer-Encoding", status=status)
        length = None
    keep = asked.http_version == b"1.1" and not any(
        name == "connection" and "close" in value.lower() for name, value in headers
    )
    body = Body(wire, http, length, expected=http.they_are_waiting_for_100_continue)
    if length == 0:
        wire.unread(http.trailing_data[0])
    return Request(asked.method.decode("ascii"), asked.target.decode("latin-1"), headers, body, keep)


async def answer(wire: Wire, response: Response, *, head_only: bool, close: bool) -> None:
    """Send it. Raises Gone, TimeoutError."""
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {_safe(value)}" for name, value in response.headers]
    if response.status not in _BARE:
        lines.append(f"Content-Length: {response.length()}")
    if close:
        lines.append("Connection: close")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
    body = response.body
    if isinstance(body, FileBody):
        with contextlib.closing(body.file):
            await wire.write(head)
            if not head_only:
                await wire.send_file(body.file, body.offset, body.size)
        return
    await wire.write(head if head_only or response.status in _BARE else head + body)


def _safe(value: str) -> str:
    """A header is one line, whatever a client or a manifest brought into it."""
    return "".join(character if character.isprintable() else "?" for character in value)
