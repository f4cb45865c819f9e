"""The streaming server on a loop of its own, in a thread, beside tests that wait for real clients."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from orlop.cri.streaming.server import Streaming
from orlop.cri.streaming.settings import StreamingSettings
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
