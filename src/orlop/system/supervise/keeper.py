"""One pod's keeper: looks, decides, records, carries out, waits for something to happen."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import replace

from orlop.kit import limits
from orlop.kit.clock import Clock
from orlop.kit.errors import OrlopError, Unavailable
from orlop.kit.tasks import in_thread
from orlop.system.probes.ask import ask
from orlop.system.probes.model import Tally, Target
from orlop.system.records import PodRecord, Records
from orlop.system.supervise.absorb import failed_to_start
from orlop.system.supervise.decide import decide, probes_wanted
from orlop.system.supervise.jobs import Jobs
from orlop.system.supervise.model import Order
from orlop.system.supervise.port import Pods, Unusable
from orlop.system.supervise.probing import Answer, Prober, Question, probe_of
from orlop.system.supervise.rules import pod_rule

_log = logging.getLogger(__name__)

_KILLS = {"startup": "StartupProbeFailed", "liveness": "LivenessProbeFailed"}


class Keeper:
    """Keeps the pod of `record` until it is unwanted and gone. `changed` hears of each new state."""

    def __init__(
        self,
        record: PodRecord,
        *,
        pods: Pods,
        records: Records,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.record = record
        self.state = record.state
        self.container_ids: frozenset[str] = frozenset()
        self.looked = asyncio.Event()  # what is recorded has been compared with what is, once
        self._rule = pod_rule(record.uid, record.desired.pod)
        self._pods = pods
        self._records = records
        self._clock = clock
        self._changed = changed
        self._saved = record.state
        self._saving = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stale = True  # volumes may lack what was played while no supervisor ran
        self._forgotten = False
        self._jobs = Jobs(clock, self.poke)
        self._prober = Prober(pods, clock, self._answered)

    def poke(self) -> None:
        """Something may have happened: look again."""
        self._wake.set()

    def update(self, record: PodRecord) -> None:
        """The record of the same incarnation as it is now: perhaps not wanted, perhaps with other data."""
        self._stale |= record.desired.volume_data != self.record.desired.volume_data
        self.record = record
        self.poke()

    async def run(self) -> None:
        """Ends when the pod is gone. Raises OrlopError where it cannot even be looked at."""
        async with asyncio.TaskGroup() as group:
            while not self._forgotten:
                self._wake.clear()
                await self._pause(await self._step(group))
            self._prober.keep({}, group)

    async def _step(self, group: asyncio.TaskGroup) -> float:
        """Look, decide, record, give the orders; when to look again without an event (0: never)."""
        while True:
            seen = await self._pods.observe(self.record.uid)
            self.container_ids = frozenset(container.id for container in seen.containers)
            before = self.state
            decision = decide(
                self._rule,
                seen,
                before,
                wanted=self.record.wanted,
                halted=self.record.halted,
                now=self._clock.now(),
            )
            self.state = decision.state
            await self._save()
            if decision.orders or decision.state == before:
                break
        self.looked.set()
        for order in decision.orders:
            self._jobs.give(order, self._carry_out, group)
        if self._stale and seen.sandbox is not None:
            self._jobs.give(Order("refresh", name="volumes"), self._carry_out, group)
        self._keep_probes(group)
        return decision.wake

    async def _pause(self, wake: float) -> None:
        delays = [limits.SUPERVISOR_POLL]
        if wake:
            delays.append(wake - self._clock.now())
        pause = self._jobs.next_pause_end()
        if pause is not None:
            delays.append(pause)
        timer = asyncio.ensure_future(self._clock.sleep(max(min(delays), 0.0)))
        event = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait((timer, event), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            event.cancel()

    async def _save(self) -> None:
        async with self._saving:
            if self.state == self._saved:
                return
            state = self.state
            await in_thread(self._records.save_state, self.record.uid, state)
            self._saved = state
        self._changed()

    # Orders

    async def _carry_out(self, order: Order) -> None:
        try:
            done = await self._work(order)
        except OrlopError as error:
            _log.warning("pod %s: %s %s: %s", self.record.key, order.verb, order.name, error)
            self._failed(order, error)
        else:
            if done:
                self._jobs.succeeded(order)
                self._clear_message(order)
        await self._save()

    async def _work(self, order: Order) -> bool:
        """Carry it out; False where it failed in a way that is dealt with already."""
        pods, record = self._pods, self.record
        match order.verb:
            case "make_sandbox":
                await pods.make_sandbox(record, order.attempt)
            case "drop_sandbox":
                await pods.remove_sandbox(order.target)
            case "stop_sandbox":
                await pods.stop_sandbox(order.target)
            case "start":
                return await self._start(order)
            case "hook":
                await self._post_start(order)
            case "stop":
                await self._stop(order)
            case "remove":
                await pods.remove(order.target)
            case "refresh":
                self._stale = False
                await pods.refresh(record)
            case "forget":
                await pods.forget(record)
                await in_thread(self._records.forget_pod, record.uid)
                self._forgotten = True
                self._changed()
        return True

    async def _start(self, order: Order) -> bool:
        """The image, then the container; each kind of failure is recorded as what it is."""
        try:
            await self._pods.ensure_image(self.record, order.name)
        except OrlopError as error:
            self._waits(order.name, "ImagePullBackOff", error)
            self._jobs.pause(order, limits.BACKOFF_FIRST)
            return False
        try:
            await self._pods.start(self.record, order.target, order.name, order.attempt)
        except Unavailable as error:
            unusable = isinstance(error, Unusable)
            reason = "CreateContainerConfigError" if unusable else "CreateContainerError"
            self._waits(order.name, reason, error)
            self._jobs.pause(order)
            return False
        except OrlopError as error:
            failed = failed_to_start(self.state.of(order.name), str(error), self._clock.now())
            self.state = replace(self.state, containers={**self.state.containers, order.name: failed})
        return True

    async def _post_start(self, order: Order) -> None:
        rule = self._rule.container(order.name)
        assert rule.post_start is not None
        outcome = await ask(
            rule.post_start,
            self._target(order.target),
            limits.HOOK_TIMEOUT,
            commands=self._pods,
            clock=self._clock,
        )
        if self.state.of(order.name).container_id != order.target:
            return
        if outcome.ok:
            self.state = self.state.set(order.name, hooked=True)
        else:
            self._condemn(order.name, "PostStartHookFailed", outcome.message, self._rule.grace)

    async def _stop(self, order: Order) -> None:
        """The preStop hook and the stop signal share the grace period, as Kubernetes has it."""
        rule = self._rule.container(order.name)
        end = self._clock.monotonic() + order.grace
        if rule.pre_stop is not None and order.grace > 0:
            outcome = await ask(
                rule.pre_stop,
                self._target(order.target),
                order.grace,
                commands=self._pods,
                clock=self._clock,
            )
            if not outcome.ok:
                _log.warning("pod %s: preStop of %s: %s", self.record.key, order.name, outcome.message)
        least = min(order.grace, limits.STOP_LEAST)
        await self._pods.stop(order.target, max(end - self._clock.monotonic(), least))

    def _failed(self, order: Order, error: OrlopError) -> None:
        self._jobs.pause(order)
        reason = {"make_sandbox": "FailedCreatePodSandBox", "refresh": "FailedRefresh"}.get(
            order.verb, "FailedStop"
        )
        if order.verb == "refresh":
            self._stale = True
        if not order.name or order.verb == "stop":
            self.state = replace(self.state, reason=reason, message=str(error))

    def _clear_message(self, order: Order) -> None:
        if order.verb in ("make_sandbox", "stop") and self.state.reason in (
            "FailedCreatePodSandBox",
            "FailedStop",
        ):
            self.state = replace(self.state, reason="", message="")

    def _waits(self, name: str, reason: str, error: OrlopError) -> None:
        _log.warning("pod %s: container %s: %s: %s", self.record.key, name, reason, error)
        self.state = self.state.set(name, problem=reason, problem_message=str(error))

    # Probes

    def _keep_probes(self, group: asyncio.TaskGroup) -> None:
        wanted = probes_wanted(self._rule, self.state, wanted=self.record.wanted)
        questions = {
            (name, kind, container_id): functools.partial(self._question, name, kind, container_id)
            for (name, kind), container_id in wanted.items()
        }
        self._prober.keep(questions, group)

    def _question(self, name: str, kind: str, container_id: str) -> Question:
        current = self.state.of(name)
        return Question(
            name=name,
            kind=kind,
            target=self._target(container_id),
            probe=probe_of(self._rule.container(name), kind),
            started=current.started,
            tally=current.tallies.get(kind, Tally()),
        )

    async def _answered(self, answer: Answer) -> None:
        current = self.state.of(answer.name)
        if current.container_id != answer.container_id or current.phase != "running" or current.kill_reason:
            return
        known = current.tallies.get(answer.kind, Tally())
        if (known.successes, known.failures) != (answer.tally.successes, answer.tally.failures):
            tallies = {**current.tallies, answer.kind: answer.tally}
            self.state = self.state.set(answer.name, tallies=tallies)
        self._judge(answer)
        if self.state != self._saved:
            await self._save()
            self.poke()

    def _judge(self, answer: Answer) -> None:
        rule, current = self._rule.container(answer.name), self.state.of(answer.name)
        if answer.kind == "readiness":
            self._judge_readiness(answer)
        elif answer.verdict is False:
            grace = probe_of(rule, answer.kind).grace
            self._condemn(
                answer.name,
                _KILLS[answer.kind],
                answer.outcome.message,
                self._rule.grace if grace is None else grace,
            )
        elif answer.kind == "startup" and answer.verdict:
            ready = current.ready or rule.readiness is None
            self.state = self.state.set(
                answer.name, passed=True, once_passed=True, ready=ready, problem="", problem_message=""
            )
        elif not answer.outcome.ok and answer.kind == "startup":
            self._explain(answer, "StartupProbeFailed")

    def _judge_readiness(self, answer: Answer) -> None:
        if answer.verdict is True and not self.state.of(answer.name).ready:
            self.state = self.state.set(answer.name, ready=True, problem="", problem_message="")
        elif answer.verdict is False:
            self.state = self.state.set(answer.name, ready=False)
        if not answer.outcome.ok:
            self._explain(answer, "ReadinessProbeFailed")

    def _explain(self, answer: Answer, reason: str) -> None:
        if self.state.of(answer.name).problem != reason:
            message = answer.outcome.message
            self.state = self.state.set(answer.name, problem=reason, problem_message=message)

    def _condemn(self, name: str, reason: str, message: str, grace: float) -> None:
        """The container is to be ended; recorded first, so that a successor ends it too."""
        _log.warning("pod %s: container %s: %s: %s", self.record.key, name, reason, message)
        self.state = self.state.set(
            name,
            ready=False,
            kill_reason=reason,
            kill_message=f"{reason}: {message}",
            kill_since=self._clock.now(),
            kill_grace=grace,
        )

    def _target(self, container_id: str) -> Target:
        return Target(container_id, self.state.address)
