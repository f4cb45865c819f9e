"""The streaming server on a loop of its own, in a thread, beside tests that wait for real clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from orlop.cri.streaming.server import Streaming
from orlop.cri.streaming.settings import StreamingSettings
from orlop.pod import namespaces
from orlop.pod.context import Pods
from tests.pod.make import eventually

T = TypeVar("T")


class Serving:
    """`streaming` and the loop that it lives on."""

    def __init__(self, pods: Pods, settings: StreamingSettings) -> None:
        self.loop = asyncio.new_event_loop()
        self.streaming = Streaming(pods, settings)
        self._thread = threading.Thread(target=self.loop.run_forever, name="serving")

    def start(self) -> None:
        self._thread.start()
        self.call(self.streaming.start())

    def stop(self) -> None:
        self.call(self.streaming.stop())
        tasks = self.call(_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        assert tasks == 1, "tasks are left"

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def execute(self, container: str, *command: str, tty: bool = False, stdin: bool = True) -> str:
        return self.streaming.exec(container, command, tty=tty, stdin=stdin, stdout=True, stderr=not tty)

    def state(self) -> tuple[int, int]:
        """How many descriptors this process has open, and tasks the loop."""
        return len(os.listdir("/proc/self/fd")), self.call(_tasks())

    def idle(self) -> None:
        """Nobody is connected any more."""
        eventually(lambda: self.streaming.sessions == 0, 30)


async def _tasks() -> int:
    return len(asyncio.all_tasks())


@contextlib.contextmanager
def serving(pods: Pods, **settings: Any) -> Iterator[Serving]:
    made = Serving(pods, StreamingSettings(**settings))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextlib.contextmanager
def echo(pods: Pods, sandbox_id: str, port: int, address: str = "127.0.0.1") -> Iterator[None]:
    """Somebody in the pod's network who sends back what comes, and ends when the other side has ended."""
    made: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def listen() -> None:
        made.append(socket.create_server((address, port), family=family, backlog=128))

    namespaces.enter(os.path.join(namespaces.folder(pods.node, sandbox_id), "net"), listen)
    thread = threading.Thread(target=_answer, args=(made[0],))
    thread.start()
    try:
        yield
    finally:
        made[0].shutdown(socket.SHUT_RDWR)
        thread.join()
        made[0].close()


def _answer(server: socket.socket) -> None:
    threads = []
    with contextlib.suppress(OSError):
        while True:
            threads.append(threading.Thread(target=_echo, args=(server.accept()[0],)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def _echo(joined: socket.socket) -> None:
    with joined, contextlib.suppress(OSError):
        while data := joined.recv(1 << 16):
            joined.sendall(data)


def processes(word: str) -> list[int]:
    """Processes with this word in their arguments, in any namespace."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and int(name) != os.getpid():
                with open(f"/proc/{name}/cmdline", "rb") as stream:
                    if word.encode() in stream.read():
                        found.append(int(name))
    return found
