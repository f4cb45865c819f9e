"""Recording what is seen: pure functions from a pod's record and what is seen of it to its new record."""

from __future__ import annotations

from dataclasses import replace

from orlop.pod.model import Container
from orlop.system.supervise import backoff
from orlop.system.supervise.model import (
    PENDING,
    RUNNING,
    ContainerRule,
    ContainerState,
    Exit,
    PodRule,
    PodState,
    Seen,
)

_LOST = 255  # the exit code that nobody knows: the container runtime interface's convention


def absorb(rule: PodRule, seen: Seen, state: PodState, now: float) -> PodState:
    """The state with every start and exit that is seen and was not yet recorded."""
    sandbox = seen.sandbox
    if sandbox is not None and sandbox.state == "ready" and sandbox.config.attempt == state.attempt:
        address = sandbox.addresses.ips[0] if sandbox.addresses.ips else ""
        address = "127.0.0.1" if rule.host_network else address
        state = replace(state, sandbox_id=sandbox.id, address=address, began=state.began or now)
    for container in rule.containers:
        before = state.of(container.name)
        after = _absorbed(container, seen.attempt(container.name, before.attempt), before, now)
        if after != before:
            state = replace(state, containers={**state.containers, container.name: after})
    if state.phase == PENDING and _began_to_run(rule, state):
        state = replace(state, phase=RUNNING, reason="", message="")
    return state


def _absorbed(
    rule: ContainerRule, seen: Container | None, state: ContainerState, now: float
) -> ContainerState:
    if seen is None:
        if state.phase != "running":
            return state
        gone = Exit(state.attempt, _LOST, "Lost", "the container is gone", state.started, now)
        return _ended(state, gone)
    if seen.state == "running" and state.phase != "exited":
        return _running(rule, seen, state)
    if seen.state in ("exited", "unknown") and state.phase != "exited":
        return _ended(replace(state, container_id=seen.id), _exit_of(seen, now))
    return state


def _running(rule: ContainerRule, seen: Container, state: ContainerState) -> ContainerState:
    hooked = state.hooked or rule.post_start is None
    passed = state.passed or (hooked and rule.startup is None)
    if state.phase != "running":
        state = replace(state, problem="", problem_message="")
    return replace(
        state,
        phase="running",
        container_id=seen.id,
        started=seen.started,
        hooked=hooked,
        passed=passed,
        once_passed=state.once_passed or passed,
        ready=state.ready or (passed and rule.readiness is None and not state.kill_reason),
    )


def _exit_of(seen: Container, now: float) -> Exit:
    if seen.state == "unknown":
        return Exit(seen.config.attempt, _LOST, "Lost", seen.message, seen.started, now)
    reason = seen.reason or ("Completed" if seen.exit_code == 0 else "Error")
    finished = seen.finished or now
    return Exit(seen.config.attempt, seen.exit_code, reason, seen.message, seen.started, finished)


def _ended(state: ContainerState, end: Exit) -> ContainerState:
    if state.kill_reason:
        end = replace(end, killed_for=state.kill_reason, message=end.message or state.kill_message)
    until, wait = backoff.after_exit(state.wait, end.started, end.finished)
    return replace(
        state,
        phase="exited",
        exit=end,
        until=until,
        wait=wait,
        ready=False,
        passed=False,
        hooked=False,
        kill_reason="",
        kill_message="",
        kill_since=0.0,
        kill_grace=0.0,
        problem="",
        problem_message="",
        tallies={},
    )


def failed_to_start(state: ContainerState, message: str, now: float) -> ContainerState:
    """The state after the runtime refused to start it: an exit with code 128, as Kubernetes reports it."""
    return _ended(state, Exit(state.attempt, 128, "StartError", message, now, now))


def _began_to_run(rule: PodRule, state: PodState) -> bool:
    """A pod is Running once its init containers are done and every main container was started; one that has
    ended since and waits for its next start counts, as in Kubernetes."""
    mains = [state.of(c.name) for c in rule.containers if c.kind == "main"]
    return all(c.phase != "waiting" or c.attempt > 0 for c in mains)
