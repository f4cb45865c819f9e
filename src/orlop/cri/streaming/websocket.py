"""WebSockets (RFC 6455, by wsproto), and the channels that Kubernetes puts into their messages.

The first byte of a message is its channel. With the base64 protocols it is the channel's digit, and the rest
is base64. The fifth protocol ends a channel by a message of 255 and the channel.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus

from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from orlop.cri.streaming.http import Conversation, Refused, Request
from orlop.cri.streaming.link import Gone, Inbox, Link
from orlop.kit.value import dataclass

NORMAL, PROTOCOL_ERROR = 1000, 1002
_END_OF_CHANNEL = 255


@dataclass(frozen=True)
class Piece:
    """Of a message: its `first` piece and its `last` may be the same."""

    data: bytes
    first: bool
    last: bool


def chosen(request: Request, known: Sequence[str]) -> str:
    """The first of the client's subprotocols that is known; "" where it names none. Raises Refused."""
    asked = request.values(b"sec-websocket-protocol")
    if not asked:
        return ""
    for protocol in asked:
        if protocol in known:
            return protocol
    raise Refused(HTTPStatus.FORBIDDEN, f"none of {', '.join(asked)[:200]} is spoken here")


class WebSocket:
    """Messages out, pieces of messages in; pings are answered on the way."""

    def __init__(self, link: Link, frames: Frames) -> None:
        self.link, self._frames = link, frames

    async def pieces(self) -> AsyncIterator[Piece]:
        """Until the client leaves, or breaks the protocol. Raises Gone."""
        first = True
        while data := await self.link.read():
            try:
                self._frames.receive_data(data)
                for event in self._frames.events():
                    if isinstance(event, (BytesMessage, TextMessage)):
                        raw = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                        yield Piece(raw, first, event.message_finished)
                        first = event.message_finished
                    elif isinstance(event, Ping):
                        await self._send(event.response())
                    elif isinstance(event, CloseConnection):
                        await self._send(event.response())
                        return
            except (LocalProtocolError, RemoteProtocolError):
                return

    async def send(self, data: bytes) -> None:
        """One binary message. Raises Gone."""
        await self._send(BytesMessage(data))

    async def send_text(self, text: str) -> None:
        await self._send(TextMessage(text))

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say that this was all. Raises Gone."""
        await self._send(CloseConnection(code, reason))

    async def _send(self, event: Event) -> None:
        self.post(event)
        await self.link.drain()

    def post(self, event: Event) -> None:
        """Without waiting. Raises Gone."""
        try:
            self.link.write(self._frames.send(event))
        except LocalProtocolError as error:  # it was closed, from either side
            raise Gone from error


def handshake(request: Request, protocol: str) -> tuple[list[tuple[bytes, bytes]], Frames]:
    """The headers of the answer, and the frames to come. Raises Refused."""
    if request.method != "GET":
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "a WebSocket begins with GET", [(b"allow", b"GET")])
    shake = H11Handshake(ConnectionType.SERVER)
    try:
        shake.initiate_upgrade_connection(list(request.headers), request.path)
        list(shake.events())
        answer = shake.send(AcceptConnection(subprotocol=protocol or None))
    except (RemoteProtocolError, LocalProtocolError, UnicodeError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"no WebSocket: {error}") from error
    frames = shake.connection
    assert frames is not None
    lines = answer.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    return headers, frames


async def opened(request: Request, conversation: Conversation, link: Link, protocol: str) -> WebSocket:
    """Answer the request by a WebSocket. Raises Refused."""
    headers, frames = handshake(request, protocol)
    await conversation.switch(headers)
    return WebSocket(link, frames)


class Channel:
    """One channel. Whoever may not be read from (`incoming`) is at its end at once."""

    def __init__(self, channels: Channels, number: int, *, incoming: bool) -> None:
        self.inbox = Inbox(streams=lambda: len(channels.channels))
        self._channels, self._number = channels, number
        if not incoming:
            self.inbox.discard()

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        """Returns when the client has taken most of it. Raises Gone."""
        await self._channels.send(self._number, data)

    async def close(self) -> None:
        """Nothing tells the client, who hears of the end with the connection's."""


class Channels:
    """The channels of a WebSocket; `readable` says of each whether the client may send."""

    def __init__(self, socket: WebSocket, protocol: str, readable: Sequence[bool]) -> None:
        self.socket = socket
        self.gone = asyncio.Event()
        self._base64 = "base64" in protocol
        self._closing = protocol.startswith("v5.")
        self.channels = [Channel(self, number, incoming=may) for number, may in enumerate(readable)]

    async def run(self) -> None:
        """Take in messages until the client goes, or talks nonsense."""
        try:
            await self._take()
        except Gone:
            return
        finally:
            self.gone.set()
            for channel in self.channels:
                channel.inbox.finish()

    async def send(self, number: int, data: bytes) -> None:
        """Raises Gone."""
        if self.gone.is_set():
            raise Gone
        if self._base64:
            await self.socket.send_text(chr(48 + number) + base64.b64encode(data).decode())
        else:
            await self.socket.send(bytes([number]) + data)

    async def _take(self) -> None:
        channel: Channel | None = None
        begun = ending = False
        pending = b""
        async for piece in self.socket.pieces():
            data = piece.data
            if piece.first:
                channel, begun, ending, pending = None, False, False, b""
            if data and not begun:
                begun = True
                number = data[0] - 48 if self._base64 else data[0]
                data = data[1:]
                ending = self._closing and number == _END_OF_CHANNEL
                if 0 <= number < len(self.channels):
                    channel = self.channels[number]
            if ending:
                pending = (pending + data)[:2]
                if piece.last and not self._ended(pending):
                    await self.socket.close(PROTOCOL_ERROR, "no such channel to close")
                    return
            elif channel is not None:
                if self._base64:
                    data, pending = _decoded(pending + data, last=piece.last)
                channel.inbox.put(data)
                if channel.inbox.full:
                    await self.socket.link.hold(channel.inbox)

    def _ended(self, numbers: bytes) -> bool:
        if len(numbers) != 1 or numbers[0] >= len(self.channels):
            return False
        self.channels[numbers[0]].inbox.finish()
        return True


def _decoded(text: bytes, *, last: bool) -> tuple[bytes, bytes]:
    """What can be decoded, and the rest. Raises Gone for what is not base64."""
    whole = len(text) if last else len(text) // 4 * 4
    try:
        return base64.b64decode(text[:whole], validate=True), text[whole:]
    except binascii.Error as error:
        raise Gone from error


class Tunnel:
    """A `Wire` inside binary messages: SPDY in a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._pieces = socket.pieces()

    async def read(self) -> bytes:
        async for piece in self._pieces:
            if piece.data:
                return piece.data
        return b""

    def write(self, *parts: bytes | memoryview) -> None:
        """Raises Gone."""
        self._socket.post(BytesMessage(b"".join(parts)))

    async def drain(self) -> None:
        """Raises Gone."""
        await self._socket.link.drain()

    async def hold(self, inbox: Inbox) -> None:
        """Raises Gone."""
        await self._socket.link.hold(inbox)
