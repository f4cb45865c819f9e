"""Take away what all pods of the node share, once there is none."""

from __future__ import annotations

import contextlib

from orlop.kit import locks
from orlop.kit.errors import Conflict, TimedOut
from orlop.pod import namespaces
from orlop.pod.context import Pods

_PATIENCE = 1.0  # seconds; whoever keeps the gate longer makes a pod and will come here itself


def when_empty(pods: Pods) -> None:
    """The folder of pins and the node's cgroup, if no pod is left; the network's bridge stays for the next.

    Gives way to whoever makes a pod at this moment.
    """
    if _any(pods):
        return
    gate = pods.node.in_state("locks", "pods", "gate")
    with contextlib.suppress(TimedOut), locks.hold(gate, timeout=_PATIENCE):
        if not _any(pods):
            _shared(pods)


def teardown(pods: Pods) -> None:
    """Everything outside the node's folders, the default network too. Raises Conflict while a pod is left."""
    with locks.hold(pods.node.in_state("locks", "pods", "gate")):
        rows = pods.records.rows("sandboxes")
        if rows:
            names = ", ".join(row["name"] for row in rows[:10])
            raise Conflict(f"node {pods.node.root}", f"has pods: {names}", hint="remove them first")
        _shared(pods)
        pods.network.collect(())
        pods.network.teardown()
        pods.store.unmount_layers()


def _shared(pods: Pods) -> None:
    namespaces.release(pods.node)
    with contextlib.suppress(OSError):
        pods.engine.cgroups.remove(f"/{pods.node.identity}")  # of the monitors
        if pods.engine.systemd:
            pods.engine.remove_group(pods.own_group)


def _any(pods: Pods) -> bool:
    return bool(pods.records.database.query("SELECT EXISTS (SELECT 1 FROM sandboxes)")[0][0])
