"""Carrying plans out: order, failures, cancellation, and going on after a death at any step."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.kit import limits
from orlop.kit.errors import Conflict, InvalidInput, NotFound
from orlop.plan.apply import PlanFailed, apply
from orlop.plan.difference import difference
from orlop.plan.executor import RecordingExecutor
from orlop.plan.journal import Journal
from orlop.plan.model import Plan, Resource, Step
from tests.plan.test_difference import states


class Killed(BaseException):
    """The process dies here."""


class Mortal(RecordingExecutor):
    """Dies at its n-th step, before or after the step had its effect."""

    def __init__(self, executor: RecordingExecutor, steps: int, *, before: bool) -> None:
        super().__init__()
        self.state = executor.state
        self.carried_out = executor.carried_out
        self._left = steps
        self._before = before

    async def carry_out(self, step: Step) -> None:
        self._left -= 1
        if self._left == 0 and self._before:
            raise Killed
        await super().carry_out(step)
        if self._left == 0:
            raise Killed


def chain(*keys: str) -> Plan:
    """Each step after the one before."""
    steps = []
    for number, key in enumerate(keys):
        after = (f"create:{keys[number - 1]}",) if number else ()
        steps.append(Step(f"create:{key}", "create", key, after=after, payload={"n": number}))
    return Plan.of(steps)


def side_by_side(number: int) -> Plan:
    return Plan.of([Step(f"create:{n:02}", "create", f"{n:02}") for n in range(number)])


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "plans.db"))


def test_steps_run_in_order_and_are_recorded(journal: Journal) -> None:
    executor = RecordingExecutor()
    applied = asyncio.run(apply(chain("a", "b", "c"), journal, executor))
    assert executor.carried_out == ["create:a", "create:b", "create:c"] == list(applied.done)
    assert journal.open_plans() == []
    assert journal.get(applied.plan).state == "finished"


def test_an_empty_plan_leaves_no_trace(journal: Journal) -> None:
    assert asyncio.run(apply(Plan(), journal, RecordingExecutor())).done == ()
    assert journal.history() == []


def test_independent_steps_run_at_once_up_to_the_limit(journal: Journal) -> None:
    executor = RecordingExecutor()
    asyncio.run(apply(side_by_side(20), journal, executor, parallel=4))
    assert executor.most_running == 4 and len(executor.carried_out) == 20


def test_a_failure_stops_what_follows_and_not_its_siblings(journal: Journal) -> None:
    executor = RecordingExecutor()
    executor.failures = {
        "a": Conflict("a", "is busy", hint="wait for a"),
        "x": Conflict("x", "is busy too", hint="wait for x"),
    }
    plan = Plan.of([*chain("a", "b", "c").steps, *side_by_side(3).steps, Step("x", "run", "x")])
    with pytest.raises(PlanFailed) as caught:
        asyncio.run(apply(plan, journal, executor))
    assert sorted(executor.carried_out) == ["create:00", "create:01", "create:02"]
    error = caught.value
    assert {step.key for step, _ in error.failures} == {"a", "x"}
    assert [step.key for step in error.blocked] == ["b", "c"]
    assert "create a: a: is busy" in str(error) and "not tried: b, c" in str(error)
    assert "wait for a" in error.hint and "wait for x" in error.hint
    assert error.exit_code == Conflict.exit_code
    assert journal.open_plans()[0].errors == {"create:a": "a: is busy", "x": "x: is busy too"}


def test_asked_again_only_what_failed_is_done(journal: Journal) -> None:
    executor = RecordingExecutor()
    executor.failures = {"b": NotFound("b", "x", hint="y")}
    with pytest.raises(PlanFailed):
        asyncio.run(apply(chain("a", "b", "c"), journal, executor))
    executor.failures = {}
    applied = asyncio.run(apply(chain("a", "b", "c"), Journal(journal._database.path), executor))
    assert applied.skipped == ("create:a",) and applied.done == ("create:b", "create:c")
    assert executor.carried_out == ["create:a", "create:b", "create:c"]


def test_a_finished_plan_can_be_applied_anew(journal: Journal) -> None:
    executor = RecordingExecutor()
    first = asyncio.run(apply(chain("a"), journal, executor))
    second = asyncio.run(apply(chain("a"), journal, executor))
    assert first.plan != second.plan and len(executor.carried_out) == 2


def test_a_mistake_in_an_executor_is_reported_like_a_failure(journal: Journal) -> None:
    executor = RecordingExecutor()
    executor.failures = {"00": KeyError("oops"), "01": InvalidInput("01", "bad", hint="good")}
    with pytest.raises(PlanFailed, match="KeyError") as caught:
        asyncio.run(apply(side_by_side(3), journal, executor))
    assert caught.value.exit_code == 1 and executor.carried_out == ["create:02"]


def test_cancellation_leaves_the_running_step_to_be_done(journal: Journal) -> None:
    class Slow(RecordingExecutor):
        async def carry_out(self, step: Step) -> None:
            if step.key == "b":
                reached.set()
                await asyncio.sleep(3600)
            await super().carry_out(step)

    reached = asyncio.Event()

    async def cancelled() -> None:
        task = asyncio.create_task(apply(chain("a", "b", "c"), journal, Slow()))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert journal.open_plans()[0].done == {"create:a"} and journal.open_plans()[0].errors == {}
    executor = RecordingExecutor()
    assert asyncio.run(apply(chain("a", "b", "c"), journal, executor)).skipped == ("create:a",)


@settings(deadline=None, max_examples=60)
@given(states(), states(), st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=4))
def test_killed_at_any_step_the_next_one_finishes_and_repeats_nothing_recorded(
    declared: dict[str, Resource], actual: dict[str, Resource], deaths: list[tuple[int, bool]]
) -> None:
    plan = difference(declared, actual)
    executor = RecordingExecutor({key: resource.value for key, resource in actual.items()})
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/plans.db"
        for steps, before in deaths:
            mortal = Mortal(executor, steps, before=before)
            done = {step for record in Journal(path).open_plans() for step in record.done}
            start = len(executor.carried_out)
            try:
                asyncio.run(apply(plan, Journal(path), mortal))
            except BaseExceptionGroup as group:
                assert group.subgroup(Killed) is not None
            assert not done & set(executor.carried_out[start:])
            if not Journal(path).open_plans():
                break  # it lived to the end
        asyncio.run(apply(plan, Journal(path), executor))
        assert Journal(path).open_plans() == []
    assert executor.state == {key: resource.value for key, resource in declared.items()}


_CHILD = """
import asyncio, os, sys
from orlop.plan.apply import apply
from orlop.plan.journal import Journal
from tests.plan.test_apply import chain
class Files:
    async def carry_out(self, step):
        with open(sys.argv[2], "a") as stream:
            stream.write(step.key + " ")
        if step.key == sys.argv[3]:
            os.kill(os.getpid(), 9)
asyncio.run(apply(chain(*"abcdef"), Journal(sys.argv[1]), Files()))
"""


def test_a_process_killed_between_doing_and_recording_repeats_only_that_step(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for last in "bd-":
        subprocess.run([sys.executable, "-c", _CHILD, tmp_path / "plans.db", log, last], check=False)
    assert log.read_text().split() == list("abbcddef")


def test_an_open_plan_is_joined_by_its_content(journal: Journal) -> None:
    first = journal.begin(chain("a", "b"))
    assert journal.begin(chain("a", "b")) == first
    assert journal.begin(chain("a", "c")) != first
    assert len(journal.open_plans()) == 2


def test_within_a_scope_one_plan_is_open(journal: Journal) -> None:
    old = journal.begin(chain("a"), scope="play")
    other = journal.begin(chain("a"), scope="else")
    new = journal.begin(chain("b"), scope="play")
    assert {record.id for record in journal.open_plans()} == {other, new}
    assert journal.get(old).state == "superseded"
    journal.abandon(new)
    assert {record.id for record in journal.open_plans()} == {other}


def test_a_step_recorded_as_done_stays_done(journal: Journal) -> None:
    number = journal.begin(chain("a"))
    journal.failed(number, "create:a", "no")
    journal.done(number, "create:a")
    journal.failed(number, "create:a", "late word of another process")
    assert journal.get(number).done == {"create:a"} and journal.get(number).errors == {}


def test_the_history_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PLAN_HISTORY", 3)
    kept_open = journal.begin(chain("open"))
    for number in range(6):
        journal.finish(journal.begin(chain(str(number))))
    assert len(journal.history()) == 4 and journal.history()[-1].id == kept_open
    with pytest.raises(NotFound):
        journal.get(kept_open + 1)
