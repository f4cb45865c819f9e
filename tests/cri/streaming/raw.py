"""Clients byte by byte, for what no library would do: SPDY by the server's frames, WebSocket by wsproto."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

from orlop.cri.streaming.spdy import frames

SECONDS = 20.0


def connected(url: str, context: ssl.SSLContext | None = None) -> socket.socket:
    where = urlsplit(url)
    assert where.hostname is not None
    joined = socket.create_connection((where.hostname, where.port), timeout=SECONDS)
    return context.wrap_socket(joined, server_hostname=where.hostname) if context is not None else joined


def vanish(joined: socket.socket, *, rudely: bool = False) -> None:
    """Close; `rudely` by a reset."""
    if rudely:
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    joined.close()


def request(url: str, headers: Mapping[str, str], method: str = "POST") -> bytes:
    where = urlsplit(url)
    lines = [f"{method} {where.path} HTTP/1.1", f"Host: {where.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def spdy_request(url: str, protocol: str) -> bytes:
    upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": protocol}
    return request(url, upgrade)


def answer(joined: socket.socket) -> tuple[int, bytes, bytes]:
    """Status, head, and what came behind it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = joined.recv(65536)
        assert piece, f"no answer: {data!r}"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, rest


def asked(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> int:
    """The status that a request is answered with."""
    with connected(url) as joined:
        joined.sendall(request(url, headers or {}, method))
        return answer(joined)[0]


class Spdy:
    """A connection after its upgrade. Streams are named by what they are for."""

    def __init__(self, url: str, protocol: str = "v4.channel.k8s.io") -> None:
        self.socket = connected(url)
        self.socket.sendall(spdy_request(url, protocol))
        status, self.head, self._rest = answer(self.socket)
        assert status == 101, self.head
        self._parser, self.encoder = frames.Parser(), frames.Encoder()
        self._next = 1
        self.numbers: dict[str, int] = {}
        self.received: dict[int, bytearray] = {}
        self.finished: set[int] = set()
        self.reset: dict[int, int] = {}
        self.replied: set[int] = set()
        self.others: list[frames.Frame] = []
        self.open = True

    def stream(self, name: str, **headers: str) -> int:
        number = self._next
        self._next += 2
        self.numbers[name] = number
        self.socket.sendall(self.encoder.syn(number, {"streamtype": name, **headers}))
        return number

    def send(self, name: str, data: bytes, *, fin: bool = False) -> None:
        self.socket.sendall(frames.data_head(self.numbers[name], len(data), fin=fin) + data)

    def said(self, name: str) -> bytes:
        return bytes(self.received.get(self.numbers[name], b""))

    def take(self) -> None:
        """One more read from the connection."""
        data, self._rest = self._rest or self.socket.recv(65536), b""
        if not data:
            self.open = False
        for frame in self._parser.feed(data):
            if isinstance(frame, frames.Data):
                self.received.setdefault(frame.stream, bytearray()).extend(frame.data)
                if frame.fin:
                    self.finished.add(frame.stream)
            elif isinstance(frame, frames.Reset):
                self.reset[frame.stream] = frame.status
            elif isinstance(frame, frames.Reply):
                self.replied.add(frame.stream)
            else:
                self.others.append(frame)

    def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            assert self.open, "the server closed"
            self.take()

    def to_the_end(self) -> None:
        while self.open:
            self.take()

    def outcome(self) -> dict[str, object]:
        """What the error stream says in the end."""
        self.until(lambda: self.numbers["error"] in self.finished)
        found: dict[str, object] = json.loads(self.said("error"))
        return found


def exec_streams(url: str, *names: str, protocol: str = "v4.channel.k8s.io") -> Spdy:
    """A client that opened these streams, all accepted."""
    client = Spdy(url, protocol)
    for name in ("error", *names):
        client.stream(name)
    client.until(lambda: len(client.replied) == len(names) + 1)
    return client


class WebSocket:
    """A connection after its upgrade."""

    def __init__(self, url: str, *protocols: str) -> None:
        self.socket = connected(url)
        self._frames = WSConnection(ConnectionType.CLIENT)
        where = urlsplit(url)
        self._send(Request(host=where.netloc, target=where.path, subprotocols=list(protocols)))
        self.messages: list[bytes] = []
        self.code: int | None = None
        self.status: int | None = None
        self.protocol: str | None = None
        self.open = True
        self._partial = b""
        while self.status is None and self.open:
            self.take()

    def _send(self, event: Event) -> None:
        self.socket.sendall(self._frames.send(event))

    def send(self, data: bytes, *, last: bool = True) -> None:
        self._send(BytesMessage(data, message_finished=last))

    def send_text(self, text: str) -> None:
        self._send(TextMessage(text))

    def take(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            self.open = False
            return
        self._frames.receive_data(data)
        for event in self._frames.events():
            if isinstance(event, AcceptConnection):
                self.status, self.protocol = 101, event.subprotocol
            elif isinstance(event, RejectConnection):
                self.status = event.status_code
            elif isinstance(event, (BytesMessage, TextMessage)):
                raw = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                self._partial += raw
                if event.message_finished:
                    self.messages.append(self._partial)
                    self._partial = b""
            elif isinstance(event, CloseConnection):
                self.code = event.code
                self.open = False

    def to_the_end(self) -> None:
        while self.open:
            self.take()

    def until(self, holds: Callable[[], object]) -> None:
        while not holds():
            assert self.open, "the server closed"
            self.take()

    def said(self, channel: int) -> bytes:
        return b"".join(message[1:] for message in self.messages if message[0] == channel)
