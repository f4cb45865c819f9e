"""A client's connections to ports of a pod: each to 127.0.0.1, or else ::1, in the pod's network."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Protocol

from orlop.cri.streaming.client import feed
from orlop.cri.streaming.descriptors import Sink, readable, stopped, write_all
from orlop.cri.streaming.workers import Workers
from orlop.kit import limits
from orlop.kit.errors import OrlopError, Unavailable
from orlop.kit.value import dataclass
from orlop.pod import namespaces
from orlop.pod.context import Pods

_PLACES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


@dataclass(frozen=True)
class PortForward:
    """What was asked for. A client that speaks SPDY names its ports itself."""

    sandbox_id: str
    ports: tuple[int, ...]


class Duplex(Protocol):
    """A client's stream for data: both directions end by themselves. `write` and `close` raise Gone."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


async def forward(
    pods: Pods, workers: Workers, sandbox_id: str, port: int, data: Duplex, error: Sink
) -> bool:
    """One connection, from its beginning to the end of both directions; whether it went well.

    What goes wrong is told on `error`. Raises Gone.
    """
    where = f"port {port} of pod {sandbox_id[:12]}"
    try:
        joined = await _connected(pods, workers, sandbox_id, port)
    except OrlopError as failure:
        await _complain(error, where, failure.cause)
        return False
    tasks: list[asyncio.Task[bool]] = []
    try:
        tasks = [
            asyncio.create_task(_in(joined, data)),
            asyncio.create_task(_out(joined, data)),
        ]
        await asyncio.gather(*tasks)
    except OSError as failure:
        await _complain(error, where, _words(failure))
        return False
    finally:
        await stopped(*tasks)
        joined.close()
    await error.close()
    return True


async def _complain(error: Sink, where: str, cause: str) -> None:
    await error.write(f"error forwarding {where}: {cause}".encode())
    await error.close()


async def _in(joined: socket.socket, data: Duplex) -> bool:
    """What the client sends, to the pod. It may have read enough: then the rest is dropped."""

    async def put(piece: bytes) -> None:
        await write_all(joined.send, joined.fileno(), piece)

    if not await feed(data, put):
        while await data.read():
            pass
    try:
        joined.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # it has closed already
            raise
    return True


async def _out(joined: socket.socket, data: Duplex) -> bool:
    """What the pod sends, to the client. Raises Gone, OSError."""
    while True:
        try:
            piece = joined.recv(limits.STREAM_CHUNK)
        except BlockingIOError:
            await readable(joined.fileno())
            continue
        if not piece:
            await data.close()
            return True
        await data.write(piece)


async def _connected(pods: Pods, workers: Workers, sandbox_id: str, port: int) -> socket.socket:
    """Raises Unavailable, and what `Pods.sandbox` raises."""
    loop = asyncio.get_running_loop()
    sockets = await workers.made(_sockets, _close, pods, sandbox_id)
    found: socket.socket | None = None
    failures: list[str] = []
    try:
        for made, (_, address) in zip(sockets, _PLACES, strict=False):
            try:
                await loop.sock_connect(made, (address, port))
            except OSError as error:
                failures.append(f"{address}: {_words(error)}")
            else:
                found = made
                return made
        raise Unavailable(
            f"port {port}", "; ".join(failures), hint="see that something listens there in the pod"
        )
    finally:
        _close([made for made in sockets if made is not found])


def _words(error: OSError) -> str:
    """The system's own: asyncio puts others in their place."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _sockets(pods: Pods, sandbox_id: str) -> list[socket.socket]:
    """One for each place to try. A socket stays in the network that its thread was in."""
    sandbox = pods.sandbox(sandbox_id)
    made: list[socket.socket] = []

    def make() -> None:
        for family, _ in _PLACES:
            try:
                one = socket.socket(family, socket.SOCK_STREAM)
            except OSError:  # a kernel without IPv6
                continue
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.append(one)

    pinned = os.path.join(namespaces.folder(pods.node, sandbox.id), "net")
    try:
        if sandbox.config.network == "host":
            make()
        else:
            namespaces.enter(pinned, make)
    except OSError as error:
        _close(made)
        raise Unavailable(
            f"pod {sandbox.id[:12]}",
            f"its network cannot be entered: {error.strerror}",
            hint="is it stopped?",
        ) from error
    return made


def _close(sockets: list[socket.socket]) -> None:
    for one in sockets:
        one.close()
