"""Clients that take their time: each wait has an end, what it held is free again. Times are short here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit import limits
from orlop.registry.access import Access
from orlop.registry.context import Context
from orlop.registry.serve import Server
from orlop.registry.settings import RegistrySettings
from orlop.registry.upload_files import Uploads
from orlop.store.store import Store
from tests.registry.support import digest, temporary_root

_SHORT = 0.3


class _Running:
    """A server in a thread of this process, so that its limits can be changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._ready = threading.Event()
        self.stopped = threading.Event()
        self.address = ("", 0)

    def _run(self) -> None:
        settings = RegistrySettings(listen="127.0.0.1:0")
        repositories = self._store.repositories
        uploads = Uploads(self._store.layout, repositories)

        async def serve() -> None:
            server = Server(Context(self._store, repositories, uploads, Access(settings), settings))
            url = await server.start()
            host, _, port = url.removeprefix("http://").rpartition(":")
            self.address = (host, int(port))
            self._stop = asyncio.Event()
            self._ready.set()
            await self._stop.wait()
            await server.stop()
            self.stopped.set()

        self._loop.run_until_complete(serve())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        assert self._ready.wait(30)
        try:
            yield
        finally:
            self.stop()
            self._thread.join(30)
            assert not self._thread.is_alive()

    def stop(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Running]:
    for name in ("REGISTRY_HEADERS_TIME", "REGISTRY_IDLE", "REGISTRY_BODY_TIME", "REGISTRY_SHUTDOWN"):
        monkeypatch.setattr(limits, name, _SHORT)
    with temporary_root() as node:
        store = Store(node)
        running = _Running(store)
        with running.running():
            yield running


def _end(connection: socket.socket) -> bytes:
    """All that comes until the server ends the connection, politely or not."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            data += piece
    return data


def _begin(server: _Running) -> str:
    with server.connect() as connection:
        connection.sendall(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = _end(connection).decode()
    return next(line.split()[1] for line in answer.splitlines() if line.startswith("Location: "))


def test_a_connection_without_a_request_ends(server: _Running) -> None:
    with server.connect() as connection:
        assert _end(connection) == b""


def test_headers_that_never_end_end_the_connection(server: _Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n")
        assert _end(connection) == b""


def test_headers_that_come_drop_by_drop_end_the_connection(server: _Running) -> None:
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(b"GET /v2/ HTTP/1.1\r\n")
        for _ in range(1000):
            connection.sendall(b"A: b\r\n")
            threading.Event().wait(0.01)
        pytest.fail("the server waited for ever")


@pytest.mark.parametrize("framing", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_a_body_that_stops_ends_the_connection_and_what_came_stays(server: _Running, framing: str) -> None:
    where = _begin(server)
    with server.connect() as connection:
        connection.sendall(f"PATCH {where} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode())
        connection.sendall(b"5\r\nabcde\r\n" if "chunked" in framing else b"abcde")
        assert _end(connection) == b""
    with server.connect() as connection:
        connection.sendall(f"GET {where} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert b"Range: 0-4\r\n" in _end(connection)


def test_a_body_that_comes_drop_by_drop_ends_the_connection(server: _Running) -> None:
    where = _begin(server)
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".encode())
        for _ in range(1000):
            connection.sendall(b"x")
            threading.Event().wait(0.01)
        pytest.fail("the server waited for ever")


def test_a_client_that_does_not_read_is_left(server: _Running) -> None:
    data = os.urandom(40_000_000)
    path = f"/v2/a/blobs/uploads/?digest={digest(data)}"
    with server.connect() as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
        connection.sendall(head.encode() + data)
        assert b" 201 " in _end(connection)
    with server.connect() as connection:
        connection.sendall(f"GET /v2/a/blobs/{digest(data)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        threading.Event().wait(4 * _SHORT)
        assert len(_end(connection)) < len(data)


def test_the_end_does_not_wait_for_ever(server: _Running, monkeypatch: pytest.MonkeyPatch) -> None:
    where = _begin(server)
    monkeypatch.setattr(limits, "REGISTRY_BODY_TIME", 60.0)
    with server.connect() as connection:
        connection.sendall(f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
        threading.Event().wait(0.1)
        server.stop()
        assert server.stopped.wait(20)
        assert _end(connection) == b""


def test_nothing_is_left_of_uploads_that_failed(server: _Running) -> None:
    """A single POST has no session to go on with: what came of it goes."""
    with server.connect() as connection:
        path = f"/v2/a/blobs/uploads/?digest={digest(b'x')}"
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab".encode())
        assert _end(connection) == b""
    assert not list(Path(server._store.layout.uploads).iterdir())
