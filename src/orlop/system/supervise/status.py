"""What a person or a program is told of a pod: from its rules and what is recorded, pure."""

from __future__ import annotations

from dataclasses import dataclass

from orlop.system.records import PodRecord
from orlop.system.supervise.decide import will_restart
from orlop.system.supervise.model import FINISHED, ContainerRule, ContainerState, PodRule, PodState

_ON_ITS_WAY = "ContainerCreating"


@dataclass(frozen=True)
class ContainerStatus:
    """`kind` is init, sidecar or main; `state` waiting, running or exited; times since the epoch."""

    name: str
    kind: str
    image: str
    state: str
    reason: str
    message: str
    ready: bool
    restarts: int
    exit_code: int | None = None
    started: float = 0.0
    finished: float = 0.0
    last_exit_code: int | None = None
    last_reason: str = ""
    last_message: str = ""
    id: str = ""


@dataclass(frozen=True)
class PodStatus:
    """`phase`: Pending, Running, Succeeded, Failed, Terminating, Stopped (by hand); `restarts` is the sum.

    `reason` and `message` are the pod's own or, where it has none, those of the first container in trouble.
    """

    name: str
    namespace: str
    uid: str
    phase: str
    ready: bool
    restarts: int
    ip: str
    reason: str
    message: str
    containers: tuple[ContainerStatus, ...]
    owner: str
    source: str
    declared: float

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def settled(self) -> bool:
        """What was wanted of it is reached: it is ready, or it has succeeded."""
        return self.ready or self.phase == "Succeeded"


def pod_status(record: PodRecord, rule: PodRule, state: PodState, now: float) -> PodStatus:
    """The status of one incarnation at the time `now`."""
    images = {c.name: c.image for c in record.desired.pod.every_container}
    containers = tuple(_container(c, state.of(c.name), images[c.name], now) for c in rule.containers)
    kept = [c for c in containers if c.kind != "init"]
    troubled = next((c for c in containers if c.reason and c.state != "exited" and not c.ready), None)
    reason, message = state.reason, state.message
    if not reason and troubled is not None and troubled.reason != _ON_ITS_WAY:
        reason, message = troubled.reason, f"container {troubled.name}: {troubled.message}"
    ready = record.wanted and state.phase not in FINISHED and all(c.ready for c in kept)
    return PodStatus(
        name=record.desired.name,
        namespace=record.desired.namespace,
        uid=record.uid,
        phase=state.phase if record.wanted else "Stopped" if record.halted else "Terminating",
        ready=ready,
        restarts=sum(c.restarts for c in containers),
        ip="" if rule.host_network else state.address,
        reason=reason,
        message=message,
        containers=containers,
        owner=record.desired.owner,
        source=record.source,
        declared=record.declared,
    )


def _container(rule: ContainerRule, state: ContainerState, image: str, now: float) -> ContainerStatus:
    shown, reason, message = _shown(rule, state, now)
    end = state.exit
    last = state.last
    if end is not None and shown == "waiting":  # it waits for its next start: how it ended is the past
        last, end = end, None
    return ContainerStatus(
        name=rule.name,
        kind=rule.kind,
        image=image,
        state=shown,
        reason=reason,
        message=message,
        ready=state.ready,
        restarts=state.restarts,
        exit_code=None if end is None else end.code,
        started=state.started if end is None else end.started,
        finished=0.0 if end is None else end.finished,
        last_exit_code=None if last is None else last.code,
        last_reason="" if last is None else last.reason,
        last_message="" if last is None else last.message,
        id=state.container_id,
    )


def _shown(rule: ContainerRule, state: ContainerState, now: float) -> tuple[str, str, str]:
    """State, reason and message as Kubernetes names them."""
    if state.phase == "running":
        return "running", state.kill_reason or state.problem, state.kill_message or state.problem_message
    if state.exit is None:
        return "waiting", state.problem or _ON_ITS_WAY, state.problem_message
    if not will_restart(rule, state.exit):
        return "exited", state.exit.reason, state.exit.message
    left = max(state.until - now, 0.0)
    ended = f"it ended with exit code {state.exit.code} ({state.exit.reason})"
    if state.exit.message:
        ended += f": {state.exit.message}"
    return "waiting", "CrashLoopBackOff", f"starts again in {left:.0f} s; {ended}"
