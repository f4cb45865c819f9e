"""`orlop supervise`: the one process of a node that keeps something running.

lock -> socket, watch of exits -> a keeper for each declared pod -> until SIGTERM, `stop`, or idleness
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import stat
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from orlop.kit import limits, locks, systemd
from orlop.kit.clock import Clock, SystemClock
from orlop.kit.config import Config
from orlop.kit.errors import Conflict, OrlopError
from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.system.records import PodRecord, Records
from orlop.system.supervise.control import serve
from orlop.system.supervise.keeper import Keeper
from orlop.system.supervise.port import Pods
from orlop.system.supervise.start import LOCK, running
from orlop.system.supervise.watch import Watch

_log = logging.getLogger(__name__)

_PAUSE = 0.05


async def supervise(
    node: Node,
    config: Config,
    *,
    clock: Clock | None = None,
    ready: Callable[[], None] = lambda: None,
    on_demand: bool = False,
    pods: Pods | None = None,
) -> None:
    """Keep what is declared until SIGTERM, SIGINT or a `stop` request; containers go on running.

    `ready` is called once requests are answered. `on_demand`: end also after limits.SUPERVISOR_IDLE seconds
    with nothing declared. Raises Conflict where another supervisor keeps this node.
    """
    clock = clock or SystemClock()
    if on_demand:
        os.chdir("/")  # its caller's folder is not to be kept busy
    async with _only_one(node):
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(limits.SUPERVISOR_THREADS))
        records = await in_thread(Records, node)
        if pods is None:
            from orlop.system.supervise.pod_layer import PodLayer

            pods = await PodLayer.open(node, config, records)
        await Supervisor(node, pods, records, clock).run(ready, on_demand=on_demand)


class Supervisor:
    """The keepers of a node, and what they have in common."""

    def __init__(self, node: Node, pods: Pods, records: Records, clock: Clock) -> None:
        self._node = node
        self._pods = pods
        self._records = records
        self._clock = clock
        self._keepers: dict[str, Keeper] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._revision = 0
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        self._reconciling = asyncio.Lock()

    async def run(self, ready: Callable[[], None], *, on_demand: bool) -> None:
        """Until it is stopped, or idle where it runs on demand."""
        with _signals(self._stop.set):
            async with asyncio.TaskGroup() as self._group:
                watch = Watch(self._node.in_state("exits"), self._exited)
                try:
                    await self.reconcile()
                    self._begin(self._look_after())
                    await self._serve(ready, on_demand=on_demand)
                finally:
                    watch.close()
                systemd.stopping()
                _log.info("ending; containers go on running")
                for task in self._tasks:
                    task.cancel()

    async def reconcile(self) -> None:
        """Read what is declared; a keeper for each pod that is to run or to end."""
        async with self._reconciling:
            records = await in_thread(self._records.pods)
            ending = {record.key for record in records if not record.wanted}
            for record in records:
                keeper = self._keepers.get(record.uid)
                if keeper is not None:
                    keeper.update(record)
                elif not record.wanted or record.key not in ending:
                    self._keep(record)

    async def _try_reconcile(self) -> None:
        """Later is soon enough: what time brings comes again."""
        try:
            await self.reconcile()
        except OrlopError as error:
            _log.warning("the records cannot be read: %s", error)

    async def _serve(self, ready: Callable[[], None], *, on_demand: bool) -> None:
        """Answer requests until the end. An idle one looks again after it closed its socket."""
        operations = {
            "ping": self._ping,
            "reconcile": self._reread,
            "changed": self._changes,
            "stop": self._end,
        }
        while not self._stop.is_set():
            async with serve(self._node, operations):
                ready()
                systemd.ready()
                await self._until_over(on_demand=on_demand)
            await self._try_reconcile()
            if not self._keepers:
                break

    async def _until_over(self, *, on_demand: bool) -> None:
        idle_since = self._clock.monotonic()
        while not self._stop.is_set():
            if self._keepers or not on_demand:
                idle_since = self._clock.monotonic()
            elif self._clock.monotonic() - idle_since >= limits.SUPERVISOR_IDLE:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)

    # Keepers

    def _keep(self, record: PodRecord) -> None:
        try:
            keeper = Keeper(
                record, pods=self._pods, records=self._records, clock=self._clock, changed=self._tell
            )
        except OrlopError as error:
            _log.warning("pod %s: %s", record.key, error)
            return
        self._keepers[record.uid] = keeper
        self._begin(self._guard(keeper))

    async def _guard(self, keeper: Keeper) -> None:
        """Run a keeper to its end; what goes wrong in it is logged and tried again, and harms no other."""
        pause = limits.SUPERVISOR_RETRY
        while True:
            try:
                await keeper.run()
                break
            except Exception:
                _log.exception("pod %s: the keeper failed; again in %g s", keeper.record.key, pause)
            await self._clock.sleep(pause)
            pause = min(2 * pause, limits.BACKOFF_MAX)
        del self._keepers[keeper.record.uid]
        self._tell()
        await self._try_reconcile()  # what waited for its name may begin

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _exited(self, container_id: str) -> None:
        """An exit was written: its pod looks; where it is nobody's yet, all look."""
        keepers = list(self._keepers.values())
        for keeper in [k for k in keepers if container_id in k.container_ids] or keepers:
            keeper.poke()

    async def _look_after(self) -> None:
        """What time alone calls for: logs that grow, records that were written while nobody told us."""
        rounds = 0
        while True:
            await self._clock.sleep(limits.LOG_CHECK)
            rounds += 1
            try:
                if rounds % max(int(limits.SUPERVISOR_POLL / limits.LOG_CHECK), 1) == 0:
                    await self._try_reconcile()
                for keeper in list(self._keepers.values()):
                    await self._pods.rotate_logs(keeper.container_ids)
                _bound_own_log()
            except OrlopError as error:
                _log.warning("logs: %s", error)

    # Requests

    def _tell(self) -> None:
        self._revision += 1
        self._news.set()
        self._news = asyncio.Event()

    async def _ping(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid()}

    async def _reread(self, request: Mapping[str, Any]) -> dict[str, Any]:
        await self.reconcile()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.SUPERVISOR_LOOK):
                for keeper in list(self._keepers.values()):
                    await keeper.looked.wait()
        return {"revision": self._revision}

    async def _changes(self, request: Mapping[str, Any]) -> dict[str, Any]:
        since, wait = int(request.get("since", 0)), float(request.get("wait", 0.0))
        if since >= self._revision:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
        return {"revision": self._revision}

    async def _end(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._stop.set()
        return {}


@contextlib.asynccontextmanager
async def _only_one(node: Node) -> AsyncIterator[None]:
    """Hold the node's supervisor lock. One that is ending is waited for; one that answers is a Conflict."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limits.SUPERVISOR_START
    with contextlib.ExitStack() as stack:
        while True:
            with contextlib.ExitStack() as trial:
                if trial.enter_context(locks.attempt(node.in_state(LOCK))):
                    stack.push(trial.pop_all())
                    break
            pid = await running(node)
            if pid or loop.time() > deadline:
                raise Conflict(
                    f"the supervisor of {node.root}",
                    f"runs already (process {pid})" if pid else "holds its lock and does not answer",
                    hint="one keeps a node; another node has another --root and --state",
                )
            await asyncio.sleep(_PAUSE)
        yield


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    with contextlib.suppress(RuntimeError, ValueError):  # not the main thread: a test
        for number in numbers:
            loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _bound_own_log() -> None:
    """Begin the log anew where it grew too long: what is written goes to its end (O_APPEND)."""
    status = os.fstat(2)
    if stat.S_ISREG(status.st_mode) and status.st_size > limits.SUPERVISOR_LOG:
        os.ftruncate(2, 0)
