"""Time as a port: the machine's clock, and one that tests turn by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Contract: `now` is seconds since the epoch (may jump), `monotonic` never goes back."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None:
        """Wait; returns at once for zero or less. Cancellable."""


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """Stands still until `advance`: sleepers whose time has come wake in the order of their deadlines."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._epoch = now
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, object]] = []

    def now(self) -> float:
        return self._epoch + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        import asyncio

        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._elapsed + seconds, future)
        self._sleepers.append(entry)
        try:
            await future
        finally:
            if entry in self._sleepers:
                self._sleepers.remove(entry)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass, and let everybody that wakes run until it waits again."""
        import asyncio

        target = self._elapsed + seconds
        while True:
            await _settle()
            due = sorted((e for e in self._sleepers if e[0] <= target), key=lambda e: e[0])
            if not due:
                break
            self._elapsed = max(self._elapsed, due[0][0])
            self._sleepers.remove(due[0])
            future = due[0][1]
            assert isinstance(future, asyncio.Future)
            if not future.done():
                future.set_result(None)
        self._elapsed = target
        await _settle()


async def _settle() -> None:
    import asyncio

    for _ in range(20):
        await asyncio.sleep(0)


def rfc3339(seconds: float) -> str:
    """`2026-11-21T12:00:00.000000000Z`, the form of CRI logs and Kubernetes times (RFC 3339, UTC)."""
    whole = int(seconds // 1)
    nanoseconds = int((seconds - whole) * 1e9)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{stamp}.{nanoseconds:09d}Z"
