"""What is said of pods: those that `play` declared, with or without a sandbox, and those of `orlop run`."""

from __future__ import annotations

import os

from orlop.cli.container import shown
from orlop.cli.context import Context
from orlop.cli.output import plain, stamp
from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.pod.model import Container, Sandbox
    from orlop.system.status import PodStatus

KEYS = """`id` (empty while it waits for its first start), `name`, `namespace`, `uid`, `attempt`, `state`
(ready, notready), `phase` (Pending, Running, Succeeded, Failed, Terminating), `ready`, `restarts`, `reason`,
`message`, `created` (RFC 3339), `ips`, `network` (pod, none, host), `ports`, `labels`, `annotations`,
`source` (the file that declared it; null for those of `orlop run`), `containers` (as `orlop ps` has them)"""


@dataclass(frozen=True)
class Pod:
    """A pod: its sandbox where it has one, what was declared of it where it was declared."""

    sandbox: Sandbox | None
    containers: tuple[Container, ...]
    status: PodStatus | None

    @property
    def phase(self) -> str:
        if self.status is not None:
            return self.status.phase
        states = {container.state for container in self.containers}
        if "running" in states:
            return "Running"
        if not states or "created" in states:
            return "Pending"
        return "Failed" if any(c.exit_code or c.state == "unknown" for c in self.containers) else "Succeeded"

    @property
    def ready(self) -> bool:
        if self.status is not None:
            return self.status.ready
        return bool(self.containers) and all(container.state == "running" for container in self.containers)


def everything(context: Context) -> list[Pod]:
    """All pods, oldest first, then those that are declared but have no sandbox yet."""
    pods = context.pods
    declared = {status.uid: status for status in _statuses(context)}
    sandboxes, containers = pods.sandboxes(), pods.containers()
    newest = {s.config.uid: s.id for s in sorted(sandboxes, key=lambda s: s.config.attempt)}
    found = []
    for sandbox in sandboxes:
        if newest[sandbox.config.uid] != sandbox.id:
            continue  # an earlier attempt that is being taken away
        inside = tuple(container for container in containers if container.sandbox_id == sandbox.id)
        found.append(Pod(sandbox, inside, declared.pop(sandbox.config.uid, None)))
    return found + [Pod(None, (), status) for status in declared.values()]


def _statuses(context: Context) -> Sequence[PodStatus]:
    if not os.path.exists(context.node.in_root("system.db")):
        return ()  # nothing was ever played: `system` need not be imported
    from orlop.system.status import status

    return status(context.node, context.config)


def addresses(pod: Pod) -> list[str]:
    """None once it was stopped: somebody else may have them now."""
    sandbox = pod.sandbox
    return list(sandbox.addresses.ips) if sandbox is not None and sandbox.state == "ready" else []


def as_json(pod: Pod) -> dict[str, object]:
    """What `pod list` and `pod inspect` say of a pod."""
    sandbox, status = pod.sandbox, pod.status
    told: dict[str, object] = {"id": "", "name": "", "namespace": ""}
    if status is not None:
        told |= {"name": status.name, "namespace": status.namespace, "uid": status.uid}
    told |= {"attempt": 0, "state": "notready"}
    if sandbox is not None:
        config = sandbox.config
        told |= {"id": sandbox.id, "name": config.name, "namespace": config.namespace, "uid": config.uid}
        told |= {"attempt": config.attempt, "state": sandbox.state}
    return told | {
        "phase": pod.phase,
        "ready": pod.ready,
        "restarts": status.restarts if status is not None else 0,
        "reason": status.reason if status is not None else "",
        "message": status.message if status is not None else "",
        "source": status.source if status is not None else None,
        "created": stamp(sandbox.created) if sandbox is not None else None,
        "ips": addresses(pod),
        "network": sandbox.config.network if sandbox is not None else "",
        "ports": plain(sandbox.config.ports) if sandbox is not None else [],
        "labels": dict(sandbox.config.labels) if sandbox is not None else {},
        "annotations": dict(sandbox.config.annotations) if sandbox is not None else {},
        "containers": [
            shown.as_json(container, sandbox) for container in pod.containers if sandbox is not None
        ],
    }
