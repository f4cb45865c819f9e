"""What one pod is busy with: at most one job at a time for each part of it, with a pause after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from orlop.kit import limits
from orlop.kit.clock import Clock
from orlop.system.supervise.model import Order

_CANCELLED_BY_END = ("start", "hook")


@dataclass
class _Job:
    order: Order
    task: asyncio.Task[None]


class Jobs:
    """Carries out orders in tasks. Orders for a part that is busy or pausing are ignored: they come again."""

    def __init__(self, clock: Clock, poke: Callable[[], None]) -> None:
        self._clock = clock
        self._poke = poke
        self._running: dict[str, _Job] = {}
        self._pauses: dict[str, tuple[float, float]] = {}  # part -> (until, monotonic; its length)

    def give(
        self, order: Order, work: Callable[[Order], Coroutine[Any, Any, None]], group: asyncio.TaskGroup
    ) -> None:
        """Begin `work(order)` unless the part is busy, pausing, or must first see another job end."""
        part = _part(order)
        if order.verb in ("stop", "stop_sandbox", "drop_sandbox", "forget") and self._in_the_way(order):
            return
        if part in self._running or self._pauses.get(part, (0.0, 0.0))[0] > self._clock.monotonic():
            return
        task = group.create_task(self._finish(part, work(order)))
        self._running[part] = _Job(order, task)

    def pause(self, order: Order, first: float = limits.SUPERVISOR_RETRY) -> None:
        """The part failed: leave it alone for a while, longer each time."""
        part = _part(order)
        length = min(max(2 * self._pauses.get(part, (0.0, 0.0))[1], first), limits.BACKOFF_MAX)
        self._pauses[part] = (self._clock.monotonic() + length, length)

    def succeeded(self, order: Order) -> None:
        self._pauses.pop(_part(order), None)

    def next_pause_end(self) -> float | None:
        """Seconds until the next pause is over."""
        now = self._clock.monotonic()
        return min((until - now for until, _ in self._pauses.values() if until > now), default=None)

    def _in_the_way(self, order: Order) -> bool:
        """Cancel starts and hooks of what is to end; whether one is still under way."""
        found = False
        for part, job in self._running.items():
            if job.order.verb in _CANCELLED_BY_END and part in (
                order.name,
                *([part] if not order.name else []),
            ):
                job.task.cancel()
                found = True
        return found

    async def _finish(self, part: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            del self._running[part]
            self._poke()


def _part(order: Order) -> str:
    return f"remove {order.target}" if order.verb == "remove" else order.name
