"""Running a pod's probes: one task a probe, begun and ended as `decide.probes_wanted` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from orlop.kit.clock import Clock
from orlop.system.probes.ask import Commands, ask
from orlop.system.probes.model import Outcome, Probe, Tally, Target, next_time, tally
from orlop.system.supervise.model import ContainerRule


@dataclass(frozen=True)
class Answer:
    """One answer of a probe, and what it makes of the container: True, False or None (not decided yet)."""

    name: str
    kind: str
    container_id: str
    outcome: Outcome
    tally: Tally
    verdict: bool | None


@dataclass(frozen=True)
class Question:
    """A probe that is to run: of which container, and from which count and time on."""

    name: str
    kind: str
    target: Target
    probe: Probe
    started: float
    tally: Tally


def probe_of(rule: ContainerRule, kind: str) -> Probe:
    """The rule's startup, liveness or readiness probe, which it has."""
    probe = {"startup": rule.startup, "liveness": rule.liveness, "readiness": rule.readiness}[kind]
    assert probe is not None
    return probe


class Prober:
    """Keeps the probes that are wanted running and hands each answer to `report`."""

    def __init__(self, commands: Commands, clock: Clock, report: Callable[[Answer], Awaitable[None]]) -> None:
        self._commands = commands
        self._clock = clock
        self._report = report
        self._tasks: dict[tuple[str, str, str], asyncio.Task[None]] = {}

    def keep(
        self, wanted: Mapping[tuple[str, str, str], Callable[[], Question]], group: asyncio.TaskGroup
    ) -> None:
        """Exactly the probes in `wanted` (by container name, kind and container ID) run afterwards."""
        for key, task in list(self._tasks.items()):
            if key not in wanted or task.done():
                task.cancel()
                del self._tasks[key]
        for key, question in wanted.items():
            if key not in self._tasks:
                self._tasks[key] = group.create_task(self._run(question()))

    async def _run(self, question: Question) -> None:
        probe, count = question.probe, question.tally
        while True:
            due = next_time(probe, question.started, count.last)
            await self._clock.sleep(min(due - self._clock.now(), probe.initial_delay + probe.period))
            outcome = await ask(
                probe.action, question.target, probe.timeout, commands=self._commands, clock=self._clock
            )
            count, verdict = tally(count, outcome, probe, self._clock.now())
            await self._report(
                Answer(question.name, question.kind, question.target.container_id, outcome, count, verdict)
            )
