"""The one HTTP/1.1 request of a connection, and its answer where it is not an upgrade (RFC 9112, by h11)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import h11

from orlop.kit import limits
from orlop.kit.value import dataclass

Headers = Sequence[tuple[bytes, bytes]]


class Refused(Exception):
    """The request is answered with this status, in these words."""

    def __init__(self, status: HTTPStatus, words: str, headers: Headers = ()) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, headers


@dataclass(frozen=True)
class Request:
    """`headers` have names in lower case; `rest` is what came behind the request."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    rest: bytes

    def values(self, name: bytes) -> list[str]:
        """Of all headers of this name, the parts between commas."""
        joined = [value.decode("latin-1") for key, value in self.headers if key == name]
        return [part.strip() for value in joined for part in value.split(",") if part.strip()]


class Conversation:
    """The HTTP part of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.STREAM_REQUEST)

    async def request(self) -> Request | None:
        """None where the client leaves without one. Raises Refused."""
        asked: h11.Request | None = None
        try:
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(limits.STREAM_CHUNK))
                elif isinstance(event, h11.Request):
                    asked = event
                elif isinstance(event, h11.Data):
                    raise Refused(HTTPStatus.BAD_REQUEST, "the request has a body")
                elif isinstance(event, h11.ConnectionClosed):
                    return None
                else:
                    break
        except h11.RemoteProtocolError as error:
            raise Refused(HTTPStatus(error.error_status_hint), str(error)) from error
        except OSError:
            return None
        assert asked is not None
        path = asked.target.decode("latin-1").partition("?")[0]
        rest = self._http.trailing_data[0]
        return Request(asked.method.decode("latin-1"), path, tuple(asked.headers), rest)

    async def switch(self, headers: Headers) -> None:
        """Answer that the protocol changes."""
        self._send(h11.InformationalResponse(status_code=101, headers=list(headers)))
        await self._writer.drain()

    async def refuse(self, why: Refused) -> None:
        """Answer with an error."""
        body = (why.words + "\n").encode()
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
            *why.headers,
        ]
        self._send(h11.Response(status_code=why.status.value, headers=headers, reason=why.status.phrase))
        self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        await self._writer.drain()

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
