"""What to do next with a pod: pure, so that every case is a unit test and no case depends on timing.

    not wanted any more  -> stop all, sidecars last and in reverse order; remove; forget
    halted or completed  -> stop what is left; keep the record
    no usable sandbox    -> drop what is left of it, make one
    otherwise            -> init containers in turn, sidecars kept, main containers kept

Orders are given again until what is seen shows that they were carried out; the driver ignores an order for
something that it is busy with.
"""

from __future__ import annotations

from dataclasses import replace

from orlop.kit import limits
from orlop.system.supervise.absorb import absorb
from orlop.system.supervise.model import (
    FAILED,
    FINISHED,
    SUCCEEDED,
    ContainerRule,
    ContainerState,
    Decision,
    Exit,
    Order,
    PodRule,
    PodState,
    Seen,
)


def decide(
    rule: PodRule, seen: Seen, state: PodState, *, wanted: bool, halted: bool = False, now: float
) -> Decision:
    """The next state and orders of a pod: `wanted`, `halted` (to be ended and kept), or neither."""
    state = absorb(rule, seen, state, now)
    if halted:
        return _finish(rule, seen, state, now)
    if not wanted:
        return _remove(rule, seen, state, now)
    if state.phase not in FINISHED:
        state = _concluded(rule, _timed(rule, state, now))
    if state.phase in FINISHED:
        return _finish(rule, seen, state, now)
    if seen.sandbox is None or seen.sandbox.state != "ready" or seen.sandbox.config.attempt != state.attempt:
        return _need_sandbox(rule, seen, state)
    return _keep(rule, seen, state, now)


def will_restart(container: ContainerRule, end: Exit) -> bool:
    """Whether a container that ended so is started again; one that a failed probe ended did not succeed."""
    if any((end.code in codes) == inside for inside, codes in container.restart_codes):
        return True
    if container.restart == "Always":
        return True
    return container.restart == "OnFailure" and (end.code != 0 or bool(end.killed_for))


def probes_wanted(rule: PodRule, state: PodState, *, wanted: bool) -> dict[tuple[str, str], str]:
    """The probes to run now: (container's name, startup | liveness | readiness) -> container's ID."""
    probes: dict[tuple[str, str], str] = {}
    if not wanted or state.phase in FINISHED:
        return probes
    for container in rule.containers:
        current = state.of(container.name)
        if current.phase != "running" or not current.hooked or current.kill_reason:
            continue
        if container.startup is not None and not current.passed:
            probes[container.name, "startup"] = current.container_id
            continue
        if container.liveness is not None:
            probes[container.name, "liveness"] = current.container_id
        if container.readiness is not None:
            probes[container.name, "readiness"] = current.container_id
    return probes


def _timed(rule: PodRule, state: PodState, now: float) -> PodState:
    if not rule.deadline or not state.began or now < state.began + rule.deadline:
        return state
    message = f"the pod was active for longer than {rule.deadline:g} s"
    return replace(state, phase=FAILED, reason="DeadlineExceeded", message=message)


def _concluded(rule: PodRule, state: PodState) -> PodState:
    """Succeeded or Failed where nothing is left to do, else as it was."""
    if state.phase in FINISHED:
        return state
    failed = []
    for container in rule.containers:
        current = state.of(container.name)
        over = current.exit is not None and not will_restart(container, current.exit)
        if container.kind == "init" and over and current.exit is not None and current.exit.code != 0:
            message = f"init container {container.name} ended with exit code {current.exit.code}"
            return replace(state, phase=FAILED, reason="InitFailed", message=message)
        if container.kind != "main":
            continue
        if not over or current.exit is None:
            return state
        if current.exit.code != 0 or current.exit.killed_for:
            failed.append(f"{container.name}: {current.exit.reason}, exit code {current.exit.code}")
    if failed:
        return replace(state, phase=FAILED, reason="ContainersFailed", message="; ".join(failed))
    return replace(state, phase=SUCCEEDED, reason="Completed", message="")


def _need_sandbox(rule: PodRule, seen: Seen, state: PodState) -> Decision:
    sandbox = seen.sandbox
    if sandbox is not None and (sandbox.state != "ready" or sandbox.config.attempt < state.attempt):
        return Decision(state, (Order("drop_sandbox", target=sandbox.id),))
    if sandbox is not None:
        return Decision(replace(state, attempt=sandbox.config.attempt))
    if seen.stale:
        return Decision(state, tuple(Order("drop_sandbox", target=old.id) for old in seen.stale))
    if state.sandbox_id:
        state = _renewed(rule, state)
    return Decision(state, (Order("make_sandbox", attempt=state.attempt),))


def _renewed(rule: PodRule, state: PodState) -> PodState:
    """The state for a new sandbox: what may run again is started again, at once, as one more attempt."""
    state = replace(state, attempt=state.attempt + 1, sandbox_id="", address="")
    for container in rule.containers:
        current = state.of(container.name)
        if current.exit is not None and (container.kind == "init" or will_restart(container, current.exit)):
            state = replace(state, containers={**state.containers, container.name: _again(current)})
            state = state.set(container.name, until=0.0, once_passed=False)
    return state


def _again(state: ContainerState) -> ContainerState:
    """The next attempt of a container, counted before it is made."""
    return replace(
        state,
        attempt=state.attempt + 1,
        restarts=state.restarts + 1,
        phase="waiting",
        container_id="",
        started=0.0,
        last=state.exit,
        exit=None,
    )


def _keep(rule: PodRule, seen: Seen, state: PodState, now: float) -> Decision:
    orders: list[Order] = [Order("drop_sandbox", target=old.id) for old in seen.stale]
    wakes: list[float] = [state.began + rule.deadline] if rule.deadline else []
    blocked = False  # by an init container that is not done or a sidecar that never was up
    for container in rule.containers:
        if blocked and (container.kind != "main" or state.of(container.name).phase == "waiting"):
            continue
        state, order, wake = _one(container, seen, state, now)
        orders += order
        wakes += [wake] if wake else []
        current = state.of(container.name)
        if container.kind == "init" and not (current.exit is not None and current.exit.code == 0):
            blocked = True
        if container.kind == "sidecar" and not current.once_passed:
            blocked = True
    orders += _outdated(rule, seen, state)
    return Decision(state, tuple(orders), min(wakes, default=0.0))


def _one(
    container: ContainerRule, seen: Seen, state: PodState, now: float
) -> tuple[PodState, list[Order], float]:
    """One container's new state, its orders, and when to look at it again (0: when something happens)."""
    name = container.name
    current = state.of(name)
    if current.phase == "running":
        if current.kill_reason:
            left = current.kill_since + current.kill_grace - now
            return state, [Order("stop", name, current.container_id, grace=max(left, 0.0))], 0.0
        if not current.hooked:
            return state, [Order("hook", name, current.container_id)], 0.0
        return state, [], 0.0
    if current.exit is not None and not will_restart(container, current.exit):
        return state, [], 0.0
    if now < current.until <= now + limits.BACKOFF_MAX:  # further away: the clock was turned back
        return state, [], current.until
    if current.phase == "exited":
        state = replace(state, containers={**state.containers, name: _again(current)})
    return state, [Order("start", name, state.sandbox_id, attempt=state.of(name).attempt)], 0.0


def _outdated(rule: PodRule, seen: Seen, state: PodState) -> list[Order]:
    """Removal of attempts before the last one: that one's log may still be wanted (`logs --previous`)."""
    return [
        Order("remove", c.config.name, c.id)
        for c in seen.containers
        if c.config.attempt < state.of(c.config.name).attempt - 1
    ]


def _finish(rule: PodRule, seen: Seen, state: PodState, now: float) -> Decision:
    """End what still runs of a completed pod, then free its sandbox; the records stay."""
    if state.ended:
        return Decision(state)
    state = replace(state, ending=state.ending or now)
    stops = _stops(rule, seen, state, now)
    if stops:
        return Decision(state, stops)
    if seen.sandbox is not None and seen.sandbox.state == "ready":
        return Decision(state, (Order("stop_sandbox", target=seen.sandbox.id),))
    return Decision(replace(state, ended=True))


def _remove(rule: PodRule, seen: Seen, state: PodState, now: float) -> Decision:
    state = replace(state, ending=state.ending or now, message="", reason="Terminating")
    stops = _stops(rule, seen, state, now)
    if stops:
        return Decision(state, stops)
    if seen.sandbox is not None or seen.stale:
        sandboxes = [*([seen.sandbox] if seen.sandbox is not None else []), *seen.stale]
        return Decision(state, tuple(Order("drop_sandbox", target=s.id) for s in sandboxes))
    return Decision(state, (Order("forget"),))


def _stops(rule: PodRule, seen: Seen, state: PodState, now: float) -> tuple[Order, ...]:
    """Everything but sidecars at once; then the sidecars, last started first (KEP-753)."""
    grace = max(state.ending + rule.grace - now, 0.0)
    first = [c for c in rule.containers if c.kind != "sidecar"]
    orders = _stops_of(first, seen, grace)
    if orders:
        return orders
    for sidecar in reversed([c for c in rule.containers if c.kind == "sidecar"]):
        orders = _stops_of([sidecar], seen, grace)
        if orders:
            return orders
    return ()


def _stops_of(containers: list[ContainerRule], seen: Seen, grace: float) -> tuple[Order, ...]:
    running = [(c.name, seen.running(c.name)) for c in containers]
    return tuple(Order("stop", name, found.id, grace=grace) for name, found in running if found is not None)
