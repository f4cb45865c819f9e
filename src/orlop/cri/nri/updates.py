"""Updates and evictions of running containers that plugins want, carried out one after the other.

Whoever asks may hold the claim of a container, and what is to be updated may be held by somebody who asks
too. So one thread of its own does it, and whoever asks waits for a bounded time only.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from orlop.cri.nri import resources
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.kit import limits
from orlop.kit.errors import Conflict, OrlopError
from orlop.pod.context import Pods
from orlop.pod.stop_container import stop_container
from orlop.pod.update_container import update_container
from orlop.runtime.model import Resources

_log = logging.getLogger(__name__)


class Updater:
    """Thread-safe."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self._mine = threading.local()
        self._closed = False
        self._worker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="nri-updates")

    @property
    def is_mine(self) -> bool:
        """Whether this thread is carrying out an update: plugins are not told of their own wishes."""
        return getattr(self._mine, "busy", False)

    def submit(
        self, updates: Sequence[pb.ContainerUpdate], evictions: Sequence[pb.ContainerEviction]
    ) -> concurrent.futures.Future[list[pb.ContainerUpdate]]:
        """The updates that failed and were not allowed to."""
        return self._worker.submit(self._carry_out, updates, evictions)

    def apply(
        self, updates: Sequence[pb.ContainerUpdate], evictions: Sequence[pb.ContainerEviction] = ()
    ) -> None:
        """Carry them out, waiting for limits.NRI_UPDATE_WAIT; a failure is logged."""
        if self._closed or not (updates or evictions):
            return
        try:
            self.submit(updates, evictions).result(limits.NRI_UPDATE_WAIT)
        except concurrent.futures.CancelledError:
            _log.warning("updates that an NRI plugin wants are left out: the daemon ends")
        except TimeoutError:
            _log.warning("updates that an NRI plugin wants take longer; they go on")

    def close(self) -> None:
        self._closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _carry_out(
        self, updates: Sequence[pb.ContainerUpdate], evictions: Sequence[pb.ContainerEviction]
    ) -> list[pb.ContainerUpdate]:
        failed = list(updates[limits.NRI_UPDATES :])
        with self._busy():
            for eviction in evictions:
                _log.info("container %s is evicted: %s", eviction.container_id[:12], eviction.reason)
                _attempted(partial(stop_container, self._pods, eviction.container_id, 0))
            for update in updates[: limits.NRI_UPDATES]:
                wanted = resources.changed(Resources(), update.linux.resources)
                if wanted != Resources() and not _attempted(partial(self._update, update, wanted)):
                    failed.append(update)
        return [update for update in failed if not update.ignore_failure]

    def _update(self, update: pb.ContainerUpdate, wanted: Resources) -> None:
        """Raises NotFound, Conflict."""
        now = self._pods.container(update.container_id)
        if now.state not in ("created", "running"):  # said without its claim, which whoever asks may hold
            raise Conflict(f"container {now.config.name}", "has ended", hint="update those that run")
        update_container(self._pods, now.id, wanted)

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        self._mine.busy = True
        try:
            yield
        finally:
            self._mine.busy = False


def _attempted(deed: Callable[[], object]) -> bool:
    """Whether it could be done; if not, that is logged."""
    try:
        deed()
    except OrlopError as error:
        _log.warning("what an NRI plugin wants cannot be done: %s", error)
        return False
    except Exception:
        _log.exception("what an NRI plugin wants cannot be done")
        return False
    return True
