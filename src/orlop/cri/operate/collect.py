"""Garbage of interrupted work: at start and every [serve] collect_interval seconds, in a quiet moment."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from orlop.cri.operate.report import Word
from orlop.kit import limits
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass
from orlop.pod import exec_leftovers, recover
from orlop.pod.context import Pods
from orlop.pod.recover import Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cri.operate.metrics import Metrics

T = TypeVar("T")

_log = logging.getLogger(__name__)

_KINDS = ("containers", "sandboxes", "orphans", "layers", "leftovers")
_LOOK = 1.0  # seconds between two looks for a moment without requests


@dataclass(frozen=True)
class Collected:
    """What one look did: counts of objects, and failures in words (they are tried again)."""

    containers: int = 0
    sandboxes: int = 0
    orphans: int = 0
    layers: int = 0
    leftovers: int = 0
    failures: tuple[str, ...] = ()
    again: bool = False  # something is too young to go

    @property
    def total(self) -> int:
        return sum(vars(self)[kind] for kind in _KINDS)


class Collector:
    """Runs beside the requests. `busy` says how many are under way."""

    def __init__(self, pods: Pods, word: Word, busy: Callable[[], int], metrics: Metrics | None) -> None:
        self._pods = pods
        self._word = word
        self._busy = busy
        self._metrics = metrics
        self._clean: tuple[object, ...] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="collect")
        self._working: Future[Any] | None = None
        self.interval = 0.0
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Once now, then every `interval` seconds (0: until `changed` is set with another one)."""
        await self.once("recovery")
        while True:
            self.changed.clear()
            try:
                async with asyncio.timeout(self.interval or None):
                    await self.changed.wait()
            except TimeoutError:
                await self._moment()
                await self.once("collection")

    async def once(self, name: str) -> None:
        """Look now; a failure is logged, and is no reason to stop."""
        begun = time.monotonic()
        before = await self._in_thread(self._fingerprint)
        if before == self._clean:
            self._count(None)
            return
        try:
            done = await self._in_thread(self._collect)
        except OrlopError as error:
            done = Collected(failures=(str(error),))
        except Exception as error:
            _log.exception("%s failed", name)
            done = Collected(failures=(f"{type(error).__name__}: {error}",))
        after = await self._in_thread(self._fingerprint)
        self._clean = None if done.total or done.failures or done.again else after
        self._count(done)
        if done.total or done.failures:
            fields = {key: value for key, value in vars(done).items() if value and key in _KINDS}
            _log.log(
                logging.WARNING if done.failures else logging.INFO,
                "%s: finished what was interrupted%s",
                name,
                "".join(f"; {failure}" for failure in done.failures),
                extra={"fields": fields},
            )
        if done.total or done.failures or name == "recovery":
            entry = {key: value for key, value in vars(done).items() if key != "again"}
            entry |= {"at": time.time(), "seconds": round(time.monotonic() - begun, 3)}
            self._word.say(**{name: entry})

    @property
    def at_work(self) -> bool:
        """Whether a look is under way, which its cancellation does not end: a plugin of CNI may take long."""
        return self._working is not None and not self._working.done()

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """A cancelled caller does not wait: what is cut off at the process's end is finished by the next."""
        self._working = work = self._thread.submit(function)
        return await asyncio.wrap_future(work)

    async def _moment(self) -> None:
        """Wait for a moment without requests, at most limits.COLLECT_PATIENCE seconds."""
        waited = 0.0
        while self._busy() and waited < limits.COLLECT_PATIENCE:
            await asyncio.sleep(_LOOK)
            waited += _LOOK

    def _collect(self) -> Collected:
        pods = self._pods
        done: Report = recover.recover(pods)
        leftovers, again = exec_leftovers.remove(pods)
        failures = list(done.failures)
        layers = 0
        try:
            swept = pods.store.collect()
            layers, leftovers, again = swept.layers, leftovers + swept.leftovers, again or swept.again
        except OrlopError as error:
            failures.append(str(error))
        return Collected(
            containers=len(done.containers),
            sandboxes=len(done.sandboxes),
            orphans=len(done.orphans),
            layers=layers,
            leftovers=leftovers,
            failures=tuple(failures),
            again=again,
        )

    def _fingerprint(self) -> tuple[object, ...]:
        """Changes where anything that could leave garbage has happened: two stats a folder, one query."""
        node = self._pods.node
        places = [node.in_state(name) for name in ("namespaces", "pods", "bundles", "mounts", "locks/pods")]
        places += [node.in_root(name) for name in ("logs", "rootfs", "layers", "tmp", "network/attachments")]
        places += [node.in_root(name) for name in ("pods.db", "pods.db-wal", "store.db", "store.db-wal")]
        _, unfinished, _, network = self._pods.records.unfinished()
        return (tuple(unfinished), network, *map(_stamp, places))

    def _count(self, done: Collected | None) -> None:
        """Figures of a look; None: nothing had happened since the last one."""
        if self._metrics is None:
            return
        result = "clean" if done is None or not (done.total or done.failures) else "done"
        if done is not None and done.failures:
            result = "failed"
        self._metrics.collections.labels(result).inc()
        if done is not None:
            for kind in _KINDS:
                self._metrics.collected.labels(kind).inc(vars(done)[kind])


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)
