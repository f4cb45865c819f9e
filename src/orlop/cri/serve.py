"""`orlop serve`: the daemon put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator

from orlop.cri import socket
from orlop.cri.server import Server
from orlop.cri.service import Service
from orlop.cri.settings import CriSettings
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.pod.context import Pods

_log = logging.getLogger(__name__)


async def serve(
    node: Node, config: Config, *, listen: str = "", ready: Callable[[str], None] = lambda path: None
) -> int:
    """Answer the kubelet until SIGTERM or SIGINT; containers go on running.

    `listen` outranks the configuration's; `ready` is called with the socket's path once requests are
    answered. Returns how many requests were still under way when the time to wait for them was over: the
    caller then ends the process without waiting for their threads. Raises InvalidInput, Conflict (another
    daemon has the socket), and what opening the node raises.
    """
    settings = config.section("cri", CriSettings)
    path = socket.path_of(listen or settings.listen, node)
    socket.validate(settings)
    stop = asyncio.Event()
    with _signals(stop.set), socket.own(path):
        pods = await in_thread(Pods, node, config)
        service = Service(pods, settings)
        await service.start()
        server = Server(service, f"unix:{path}")
        _bind(server, path, settings)
        await server.start()
        _log.info("serving %s", path)
        ready(path)
        await stop.wait()
        _log.info("ending; containers go on running")
        await service.stop()
        return await server.stop()


def _bind(server: Server, path: str, settings: CriSettings) -> None:
    """Nobody but root may connect before owner and mode are what they are to be."""
    before = os.umask(0o177)
    try:
        server.bind()
    finally:
        os.umask(before)
    socket.hand_over(path, settings)


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
