"""Carrying a plan out: what is ready runs at once, each step is recorded, every failure is reported."""

from __future__ import annotations

import asyncio

from orlop.kit import limits
from orlop.kit.errors import OrlopError
from orlop.kit.tasks import in_thread
from orlop.kit.value import dataclass
from orlop.plan.executor import Executor
from orlop.plan.journal import Journal
from orlop.plan.model import Plan, Step


@dataclass(frozen=True)
class Applied:
    """What an `apply` did: ids of steps. `skipped` were recorded as done before."""

    plan: int
    done: tuple[str, ...]
    skipped: tuple[str, ...]


class PlanFailed(OrlopError):
    """Some steps failed. `failures` pairs each with its error; `blocked` were not tried for want of those.

    Its exit code is that of the failures where they agree.
    """

    def __init__(self, failures: list[tuple[Step, Exception]], blocked: list[Step], total: int) -> None:
        words = "; ".join(f"{step.action} {step.key}: {_cause(error)}" for step, error in failures)
        left = f"; not tried: {', '.join(step.key for step in blocked)}" if blocked else ""
        hints = dict.fromkeys(error.hint for _, error in failures if isinstance(error, OrlopError))
        super().__init__(
            "plan",
            f"{len(failures)} of {total} steps failed: {words}{left}",
            hint="; ".join([*hints, "then ask again: what is done is not repeated"]),
        )
        self.failures = tuple(failures)
        self.blocked = tuple(blocked)
        codes = {getattr(error, "exit_code", 1) for _, error in failures}
        self.exit_code = codes.pop() if len(codes) == 1 else 1


async def apply(
    plan: Plan,
    journal: Journal,
    executor: Executor,
    *,
    scope: str = "",
    parallel: int = limits.PLAN_PARALLEL,
) -> Applied:
    """Carry out what is not yet recorded as done, at most `parallel` steps at a time.

    A failed step stops those that come after it, not its siblings. Raises PlanFailed, with all failures, once
    nothing is left to try. Cancelled, it cancels the steps under way, which stay to be done.
    """
    if not plan:
        return Applied(0, (), ())
    number = await in_thread(journal.begin, plan, scope=scope)
    recorded = await in_thread(journal.get, number)
    run = _Run(plan, journal, executor, number, set(recorded.done), parallel)
    async with asyncio.TaskGroup() as group:
        for step in plan.steps:
            group.create_task(run.step(step))
    if run.failures:
        raise PlanFailed(run.failures, run.blocked, len(plan.steps)) from run.failures[0][1]
    await in_thread(journal.finish, number)
    return Applied(number, tuple(run.done), tuple(s.id for s in plan.steps if s.id in recorded.done))


class _Run:
    """One `apply`. Each step is a task that waits for those before it."""

    def __init__(
        self, plan: Plan, journal: Journal, executor: Executor, number: int, done: set[str], parallel: int
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._number = number
        self._succeeded = done
        self._ended = {step.id: asyncio.Event() for step in plan.steps}
        self._room = asyncio.Semaphore(parallel)
        self.done: list[str] = []
        self.failures: list[tuple[Step, Exception]] = []
        self.blocked: list[Step] = []

    async def step(self, step: Step) -> None:
        for before in step.after:
            await self._ended[before].wait()
        if step.id not in self._succeeded:
            if all(before in self._succeeded for before in step.after):
                await self._carry_out(step)
            else:
                self.blocked.append(step)
        self._ended[step.id].set()

    async def _carry_out(self, step: Step) -> None:
        async with self._room:
            try:
                await self._executor.carry_out(step)
            except Exception as error:  # a mistake in an executor must not hide the other failures
                self.failures.append((step, error))
                await in_thread(self._journal.failed, self._number, step.id, _cause(error))
                return
            await in_thread(self._journal.done, self._number, step.id)
        self._succeeded.add(step.id)
        self.done.append(step.id)


def _cause(error: Exception) -> str:
    return str(error) if isinstance(error, OrlopError) else f"{type(error).__name__}: {error}"
