"""A small registry that misbehaves on demand, for what a real one cannot be made to do.

with faulty(image) as server:
    server.faults[f"blobs/{digest}"] = [cut(1000), status(503)]     # one each request, then well-behaved
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.images import Image, Index, digest
from tests.support.registry import Authority

Fault = Callable[["Handler", bytes, str], None]


@dataclass
class Faulty:
    """`content`: paths below the repository to (bytes, media type); `requests`: (method, path, headers)."""

    address: str
    content: dict[str, tuple[bytes, str]]
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    ranges: bool = True
    ping: Fault | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, image: Image | Index, tag: str = "") -> None:
        if isinstance(image, Index):
            for member in image.members:
                self.add(member)
        else:
            for data in image.blobs:
                self.content[f"blobs/{digest(data)}"] = (data, "application/octet-stream")
        for name in filter(None, (tag, image.digest)):
            self.content[f"manifests/{name}"] = (image.manifest, image.media_type)

    def reference(self, tag: str = "1") -> str:
        return f"{self.address}/ship/cargo:{tag}"

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of all requests whose path ends so."""
        with self.lock:
            return [headers for _, seen, headers in self.requests if seen.partition("?")[0].endswith(path)]


class _Server(http.server.ThreadingHTTPServer):
    faulty: Faulty
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `content` below /v2/ANY/NAME/, with ranges."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        if isinstance(self.connection, ssl.SSLSocket):
            super().handle()
        elif (
            self.connection.recv(1, socket.MSG_PEEK) != b"\x16"
        ):  # TLS spoken to a plain port: hang up at once
            super().handle()

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        faulty = self.server.faulty
        path = urllib.parse.urlsplit(self.path).path
        with faulty.lock:
            faulty.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if path == "/v2/":
            (faulty.ping or status(200))(self, b"{}", "application/json")
            return
        name = "/".join(path.split("/")[-2:])
        data, media_type = faulty.content.get(name, (b"", ""))
        with faulty.lock:
            queue = faulty.faults.get(name, [])
            fault = queue.pop(0) if queue else faulty.always.get(name)
        if fault:
            fault(self, data, media_type)
        elif name not in faulty.content:
            self.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no \\u001b[31msuch"}]}')
        else:
            self.serve(data, media_type)

    do_HEAD = do_GET  # noqa: N815 (the base class names it)
    do_POST = do_GET  # noqa: N815

    def serve(self, data: bytes, media_type: str) -> None:
        wanted = self.headers.get("Range", "")
        if wanted and self.server.faulty.ranges:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self.answer(206, data[first:], media_type, **{"Content-Range": span})
        else:
            self.answer(200, data, media_type)

    def answer(self, code: int, body: bytes, media_type: str = "application/json", **headers: str) -> None:
        self.head(code, len(body), media_type, **headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(
        self, code: int, length: int | None, media_type: str = "application/json", **headers: str
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


# Faults


def status(code: int, **headers: str) -> Fault:
    return lambda handler, data, _: handler.answer(code, b"{}", **headers)


def cut(count: int) -> Fault:
    """Break the connection after `count` bytes of what is left to send."""

    def fault(handler: Handler, data: bytes, media_type: str) -> None:
        wanted = handler.headers.get("Range", "")
        first = (
            int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and handler.server.faulty.ranges else 0
        )
        extra = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        handler.head(206 if first else 200, len(data) - first, media_type, **extra)
        handler.wfile.write(data[first : first + count])
        handler.hang_up()

    return fault


def stall(seconds: float, after: int = 0) -> Fault:
    def fault(handler: Handler, data: bytes, media_type: str) -> None:
        handler.head(200, len(data), media_type)
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.hang_up()

    return fault


def instead(
    body: bytes, media_type: str = "", code: int = 200, *, chunked: bool = False, **headers: str
) -> Fault:
    """Serve other bytes, possibly without saying how many."""

    def fault(handler: Handler, data: bytes, own: str) -> None:
        if chunked:
            handler.head(code, None, media_type or own, Transfer_Encoding="chunked", **headers)
            handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            handler.answer(code, body, media_type or own, **headers)

    return fault


def redirect(url: str) -> Fault:
    return lambda handler, data, _: handler.answer(307, b"", Location=url)


@contextlib.contextmanager
def faulty(*images: Image | Index, authority: Authority | None = None, port: int = 0) -> Iterator[Faulty]:
    """Serve `images` as ship/cargo:1, :2...; with `authority` by TLS."""
    server = _Server(("127.0.0.1", port), Handler)
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(f"faulty-{server.server_address[1]}"))
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.faulty = Faulty(f"127.0.0.1:{server.server_address[1]}", {})
    for number, image in enumerate(images, 1):
        server.faulty.add(image, str(number))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.faulty
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
