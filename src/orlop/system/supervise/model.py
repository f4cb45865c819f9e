"""What the supervisor decides by: rules of a declared pod, what is recorded of it, what is seen of it.

Times are seconds since the epoch, 0 where it has not happened; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orlop.pod.model import Container, Sandbox
from orlop.system.probes.model import Action, Probe, Tally

PENDING = "Pending"
RUNNING = "Running"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
FINISHED = (SUCCEEDED, FAILED)


@dataclass(frozen=True)
class ContainerRule:
    """How one container is kept. `kind` is "init", "sidecar" (an init container that stays) or "main".

    `restart` is this container's: an init container's Always is OnFailure. `restart_codes`: pairs of whether
    the exit code is to be one of the numbers or none of them, and the numbers; a match restarts whatever
    `restart` says.
    """

    name: str
    kind: str = "main"
    restart: str = "Always"  # Always | OnFailure | Never
    restart_codes: tuple[tuple[bool, tuple[int, ...]], ...] = ()
    startup: Probe | None = None
    liveness: Probe | None = None
    readiness: Probe | None = None
    post_start: Action | None = None
    pre_stop: Action | None = None


@dataclass(frozen=True)
class PodRule:
    """How a pod is kept. `containers`: init and sidecar ones in their order, then the main ones."""

    uid: str
    name: str
    namespace: str
    containers: tuple[ContainerRule, ...]
    grace: float = 30.0
    deadline: float = 0.0  # activeDeadlineSeconds; 0: none
    host_network: bool = False

    def container(self, name: str) -> ContainerRule:
        return next(rule for rule in self.containers if rule.name == name)


@dataclass(frozen=True)
class Exit:
    """How an attempt of a container ended. `killed_for` is why the supervisor ended it, or empty."""

    attempt: int
    code: int
    reason: str
    message: str = ""
    started: float = 0.0
    finished: float = 0.0
    killed_for: str = ""


@dataclass(frozen=True)
class ContainerState:
    """What is recorded of a container. `attempt` is the current one: recorded before it is made."""

    attempt: int = 0
    restarts: int = 0
    phase: str = "waiting"  # waiting | running | exited
    container_id: str = ""
    started: float = 0.0
    passed: bool = False  # postStart hook and startup probe succeeded: Kubernetes' `started`
    once_passed: bool = False  # ... at least once in this sandbox: what comes after may start
    hooked: bool = False
    ready: bool = False
    kill_reason: str = ""  # not empty: it is to be ended, because of this
    kill_message: str = ""
    kill_since: float = 0.0
    kill_grace: float = 0.0
    exit: Exit | None = None  # of the current attempt
    last: Exit | None = None  # of the one before
    wait: float = 0.0  # back-off: what the next wait will be
    until: float = 0.0  # back-off: not started before
    problem: str = ""  # why it waits, in a word (ImagePullBackOff, ...)
    problem_message: str = ""
    tallies: Mapping[str, Tally] = field(default_factory=dict)  # by probe: startup, liveness, readiness


@dataclass(frozen=True)
class PodState:
    """What is recorded of a pod."""

    phase: str = PENDING
    reason: str = ""
    message: str = ""
    began: float = 0.0
    attempt: int = 0  # of the sandbox
    sandbox_id: str = ""  # "": none was made for this attempt
    address: str = ""
    ending: float = 0.0  # when it began to end (removed, or completed with sidecars left)
    ended: bool = False  # completed, and its sandbox is stopped
    containers: Mapping[str, ContainerState] = field(default_factory=dict)

    def of(self, name: str) -> ContainerState:
        return self.containers.get(name, _FRESH)

    def set(self, name: str, **changes: Any) -> PodState:
        """This state with some fields of one container's state changed."""
        return replace(self, containers={**self.containers, name: replace(self.of(name), **changes)})


_FRESH = ContainerState()


@dataclass(frozen=True)
class Seen:
    """What the pod layer has of a pod. `sandbox` is the newest; `stale` are older ones of the same pod."""

    sandbox: Sandbox | None = None
    containers: tuple[Container, ...] = ()  # of `sandbox`
    stale: tuple[Sandbox, ...] = ()

    def running(self, name: str) -> Container | None:
        """The newest container of that name that runs."""
        found = [c for c in self.containers if c.config.name == name and c.state == "running"]
        return max(found, key=lambda c: c.config.attempt, default=None)

    def attempt(self, name: str, number: int) -> Container | None:
        for container in self.containers:
            if container.config.name == name and container.config.attempt == number:
                return container
        return None


@dataclass(frozen=True)
class Order:
    """Something to carry out now. `verb`: make_sandbox, drop_sandbox, stop_sandbox, start, hook, stop, remove
    or forget. `name` is the container's, "" for the pod's. `target` is the ID of what it acts on."""

    verb: str
    name: str = ""
    target: str = ""
    attempt: int = 0
    grace: float = 0.0


@dataclass(frozen=True)
class Decision:
    """The state to record first, the orders to carry out then, and when to look again if nothing happens."""

    state: PodState
    orders: tuple[Order, ...] = ()
    wake: float = 0.0
