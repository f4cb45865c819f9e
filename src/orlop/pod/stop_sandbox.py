"""Stop a pod: its containers, then its network and namespaces."""

from __future__ import annotations

import sqlite3
from functools import partial

from orlop.kit import limits
from orlop.pod import init, sandbox
from orlop.pod.context import Pods
from orlop.pod.records import NOTREADY, READY
from orlop.pod.stop_container import stop_container


def stop_sandbox(pods: Pods, name: str, timeout: float = limits.STOP_GRACE) -> None:
    """Stop all containers of the pod at once, each with `timeout` seconds of grace, and leave the network.

    A stopped pod, or none, is fine. Addresses and host ports are free afterwards, namespaces gone.
    """
    row = pods.find_sandbox(name)
    if row is None:
        return
    stop_containers(pods, row["id"], timeout)
    with pods.claim(row["id"]):
        row = pods.records.row("sandboxes", row["id"])
        if row is None or row["state"] not in (READY, NOTREADY) or not row["held"]:
            return
        if row["state"] == READY:  # from here on no container can be created in it
            pods.records.update("sandboxes", row["id"], state=NOTREADY)
        stop_containers(pods, row["id"], timeout)  # one that was created meanwhile
        finish(pods, row)


def finish(pods: Pods, row: sqlite3.Row) -> None:
    """Take away what a stopped sandbox has on the machine. The caller holds its claim."""
    pods.tell("stop_sandbox", row["id"])
    dismantle(pods, row)
    pods.records.update("sandboxes", row["id"], init_pid=0, held=0)


def stop_containers(pods: Pods, sandbox_id: str, timeout: float) -> None:
    """All containers of a sandbox, at the same time."""
    rows = pods.records.rows("containers", "sandbox_id = ? AND state <> 'exited'", (sandbox_id,))
    sandbox.at_once([partial(stop_container, pods, row["id"], timeout) for row in rows])


def dismantle(pods: Pods, row: sqlite3.Row) -> None:
    """What a sandbox has, by its record."""
    sandbox.dismantle(pods, row["id"], attached=bool(row["attached"]), has_init=init.recorded(row))
