"""The clock that tests turn, and blocking work under asyncio."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from orlop.kit import progress
from orlop.kit.clock import ManualClock, SystemClock, rfc3339
from orlop.kit.errors import Cancelled
from orlop.kit.tasks import Cancellation, cancellable, in_thread


def test_a_manual_clock_wakes_sleepers_in_the_order_of_their_deadlines() -> None:
    async def main() -> None:
        clock = ManualClock()
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, *naps: float) -> None:
            for nap in naps:
                await clock.sleep(nap)
                woken.append((name, clock.monotonic()))

        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper("a", 3, 3))
            group.create_task(sleeper("b", 1, 4))
            group.create_task(sleeper("c", 0))
            await clock.advance(5.5)
            assert woken == [("c", 0), ("b", 1), ("a", 3), ("b", 5)]
            await clock.advance(10)
            assert woken[4:] == [("a", 6)]
            assert (clock.monotonic(), clock.now()) == (15.5, 1_700_000_015.5)

    asyncio.run(main())


def test_a_cancelled_sleeper_is_forgotten() -> None:
    async def main() -> None:
        clock = ManualClock()
        task = asyncio.create_task(clock.sleep(5))
        await clock.advance(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await clock.advance(10)
        assert clock._sleepers == []

    asyncio.run(main())


def test_the_systems_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    asyncio.run(clock.sleep(-1))
    assert clock.monotonic() >= before and clock.now() > 1_700_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00.000000000Z"), (1_700_000_000.25, "2023-11-14T22:13:20.250000000Z")],
)
def test_times_are_written_as_kubernetes_does(seconds: float, text: str) -> None:
    assert rfc3339(seconds) == text


def test_a_cancelled_caller_waits_for_its_thread_however_often_it_is_cancelled() -> None:
    async def main() -> None:
        started, release, ended = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            started.set()
            release.wait(10)
            ended.set()

        task = asyncio.create_task(in_thread(work))
        while not started.is_set():
            await asyncio.sleep(0.001)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0.01)
            assert not task.done()
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(main())


def test_cancellation_reaches_blocking_work() -> None:
    async def main() -> None:
        seen: list[str] = []

        def work(cancellation: Cancellation) -> None:
            seen.append("started")
            try:
                cancellation.wait(60)
            except Cancelled:
                seen.append("cancelled")
                raise

        task = asyncio.create_task(cancellable(work))
        while not seen:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["started", "cancelled"]

    asyncio.run(main())


def test_results_and_errors_of_a_thread_come_back() -> None:
    async def main() -> None:
        assert await in_thread(max, 1, 2) == 2
        assert await cancellable(lambda _: threading.current_thread() is threading.main_thread()) is False
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)

    asyncio.run(main())


def test_a_cancellation_is_looked_at_between_pieces() -> None:
    cancellation = Cancellation()
    cancellation.check()
    before = time.monotonic()
    cancellation.wait(0.001)
    cancellation.cancel()
    with pytest.raises(Cancelled):
        cancellation.check()
    with pytest.raises(Cancelled):
        cancellation.wait(3600)
    assert cancellation.cancelled and time.monotonic() - before < 3600


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    meter = progress.Quiet().meter("it", 3)
    meter.advance(1)
    meter.note("x")
    meter.done()
    assert capsys.readouterr() == ("", "")
