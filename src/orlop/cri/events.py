"""Container events: what this daemon does to containers and pods, and how containers end, whoever ended them.

Ends are seen by inotify in the node's folder of exit files, into which conmon writes. An event carries the
state of the pod and of all its containers as they are when it is published. A pod has events of its own, with
its ID, as other runtimes' pods have because of their pause container.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator

from orlop.cri.observer import Observer
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import status
from orlop.cri.translate.sandbox import MANAGER
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded, NotFound
from orlop.kit.tasks import in_thread
from orlop.pod.context import Pods
from orlop.pod.model import Sandbox
from orlop.runtime import exits

_log = logging.getLogger(__name__)
_KINDS = {
    "created": pb.CONTAINER_CREATED_EVENT,
    "started": pb.CONTAINER_STARTED_EVENT,
    "stopped": pb.CONTAINER_STOPPED_EVENT,
    "deleted": pb.CONTAINER_DELETED_EVENT,
}
_OVERFLOW = 0x4000  # IN_Q_OVERFLOW: the kernel dropped some
_EVENT = struct.Struct("iIII")  # wd, mask, cookie, length of the name
_ID_LENGTH = 64  # conmon writes a temporary file first, with another name
_AGAIN = 0.05  # seconds until a second look at an end that is not recorded yet
_TOLD = 16_384  # what was told and is remembered, so that it is told once


class Events:
    """One daemon's. `publish` and `deleting` are for worker threads, the rest belongs to the loop."""

    def __init__(self, pods: Pods, observer: Observer) -> None:
        self._pods = pods
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._subscribers: set[_Subscriber] = set()
        self._told: dict[object, None] = {}
        self._lock = threading.Lock()
        self._descriptor = -1
        self._changes: asyncio.Queue[str] = asyncio.Queue()
        self._watcher: asyncio.Task[None] | None = None

    # Whoever acts

    def publish(self, identifier: str, kind: str) -> None:
        """Say that this happened to the container, or the pod, of this ID: "created", "started", "stopped".

        Costs nothing where nobody listens; something that is gone already is not told of, nor anything twice:
        requests that are repeated find what the first one did.
        """
        if not self._subscribers or not self._is_new((identifier, kind)):
            return
        with contextlib.suppress(NotFound):
            self._send(identifier, kind, self._sandbox_of(identifier))

    @contextlib.contextmanager
    def deleting(self, identifier: str) -> Iterator[None]:
        """Around the removal of a container or a pod: "deleted", for it and for what goes with it."""
        gone: list[str] = []
        sandbox: Sandbox | None = None
        if self._subscribers:
            with contextlib.suppress(NotFound):
                sandbox = self._sandbox_of(identifier)
                inside = [container.id for container in self._pods.containers(sandbox.id)]
                gone = [each for each in inside if each.startswith(identifier)] or [*inside, sandbox.id]
        yield
        if sandbox is not None:
            for each in gone:
                self._send(each, "deleted", sandbox)

    # Whoever listens

    async def subscribe(self) -> AsyncIterator[pb.ContainerEventResponse]:
        """What happens from now on. Raises LimitExceeded where the reader is too slow."""
        subscriber = _Subscriber()
        self._subscribers.add(subscriber)
        try:
            async for event in subscriber.events():
                yield event
        finally:
            self._subscribers.discard(subscriber)

    async def start(self) -> None:
        """Watch for ends from now on. Raises OSError."""
        self._descriptor = await in_thread(exits.watch, self._pods.engine.exits)
        self._loop.add_reader(self._descriptor, self._read)
        self._watcher = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End the watch and all subscriptions."""
        if self._watcher is not None:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        for subscriber in self._subscribers:
            subscriber.close()

    # Ends

    def _read(self) -> None:
        """Take what the kernel saw off the descriptor."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._descriptor, 64 * limits.KIB):
                for name in _names(data):
                    self._changes.put_nowait(name)

    async def _follow(self) -> None:
        while True:
            name = await self._changes.get()
            for identifier in [name] if name else await in_thread(self._recently_ended):
                try:
                    await in_thread(self.ended, identifier)
                except Exception as error:  # a list will tell of it; those that follow are not to be missed
                    _log.warning("the end of container %s is not told: %s", identifier[:12], error)

    def _recently_ended(self) -> list[str]:
        """After an overflow: all of which there is an exit file."""
        with contextlib.suppress(OSError):
            return [name for name in os.listdir(self._pods.engine.exits) if len(name) == _ID_LENGTH]
        return []

    def ended(self, identifier: str) -> None:
        """Tell whoever counts and whoever listens of an end, once. Thread-safe; no end is no error.

        Who stopped a container calls it before saying so: the watch would come too late for one that is
        removed at once.
        """
        if identifier in self._told or exits.read(self._pods.engine.exits, identifier) is None:
            return
        try:
            container = self._pods.container(identifier)  # which records the end
        except NotFound:  # removed since, or somebody's exec
            return
        if container.state != "exited":  # whoever starts it is still at work: it ended at once
            again = functools.partial(self._loop.call_later, _AGAIN, self._changes.put_nowait, identifier)
            self._loop.call_soon_threadsafe(again)
            return
        if not self._is_new(identifier):
            return
        self._observer.ended(
            container.id, exit_code=container.exit_code, oom_killed=container.reason == "OOMKilled"
        )
        self.publish(container.id, "stopped")
        self._pods.tell("ended_container", container.sandbox_id, container.id)

    def ended_inside(self, sandbox_id: str) -> None:
        """`ended` for every container of a pod that was stopped, where somebody listens."""
        if self._subscribers:
            for container in self._pods.containers(sandbox_id):
                self.ended(container.id)

    def _is_new(self, what: object) -> bool:
        """Whether it was not told before; now it is."""
        with self._lock:
            if what in self._told:
                return False
            self._told[what] = None
            if len(self._told) > _TOLD:
                del self._told[next(iter(self._told))]
            return True

    # Messages

    def _sandbox_of(self, identifier: str) -> Sandbox:
        row = self._pods.records.row("containers", identifier)
        return self._pods.sandbox(identifier if row is None else row["sandbox_id"])

    def _send(self, identifier: str, kind: str, sandbox: Sandbox) -> None:
        if sandbox.config.manager != MANAGER:  # somebody else's, which no list of ours holds
            return
        moment = time.time_ns()  # before the look: of two events, the later one's state is never the older
        with contextlib.suppress(NotFound):
            sandbox = self._pods.sandbox(sandbox.id)  # as it is now, if it is
        containers = self._pods.containers(sandbox.id)
        event = pb.ContainerEventResponse(
            container_id=identifier,
            container_event_type=_KINDS[kind],
            created_at=moment,
            pod_sandbox_status=status.sandbox_status(sandbox),
            containers_statuses=[status.container_status(container) for container in containers],
        )
        with contextlib.suppress(RuntimeError):  # the loop is closed: the daemon is ending
            self._loop.call_soon_threadsafe(self._deliver, event)

    def _deliver(self, event: pb.ContainerEventResponse) -> None:
        for subscriber in self._subscribers:
            subscriber.put(event)


class _Subscriber:
    """Events on their way to one reader: at most limits.CRI_EVENTS wait for it."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[pb.ContainerEventResponse | None] = asyncio.Queue()
        self._lost = False

    def put(self, event: pb.ContainerEventResponse) -> None:
        if self._lost:
            return
        if self._waiting.qsize() >= limits.CRI_EVENTS:
            self._lost = True
            while not self._waiting.empty():
                self._waiting.get_nowait()
            self._waiting.put_nowait(None)
            return
        self._waiting.put_nowait(event)

    def close(self) -> None:
        self._waiting.put_nowait(None)

    async def events(self) -> AsyncIterator[pb.ContainerEventResponse]:
        while (event := await self._waiting.get()) is not None:
            yield event
        if self._lost:
            raise LimitExceeded(
                "GetContainerEvents",
                f"{limits.CRI_EVENTS} events waited to be read",
                hint="list what is there, then subscribe again",
            )


def _names(data: bytes) -> Iterator[str]:
    """The files that inotify events are about; "" where the kernel dropped some (inotify(7))."""
    offset = 0
    while offset + _EVENT.size <= len(data):
        _, mask, _, length = _EVENT.unpack_from(data, offset)
        name = (
            data[offset + _EVENT.size : offset + _EVENT.size + length]
            .rstrip(b"\0")
            .decode("ascii", "replace")
        )
        offset += _EVENT.size + length
        if mask & _OVERFLOW:
            yield ""
        elif len(name) == _ID_LENGTH:
            yield name
