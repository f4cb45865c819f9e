"""Ending played pods by hand: a halted one stays as it is until its file is played again."""

from __future__ import annotations

import os
from collections.abc import Sequence

from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.system.records import PodRecord, Records
from orlop.system.supervise.control import call
from orlop.system.supervise.start import ensure_running
from orlop.system.wait import still_there, until


def played(node: Node, uid: str) -> bool:
    """Whether the pod of this uid was played, so that a supervisor keeps it."""
    if not os.path.exists(node.in_root("system.db")):
        return False
    records = Records(node)
    try:
        return any(record.uid == uid for record in records.pods())
    finally:
        records.close()


async def halt(node: Node, uids: Sequence[str], *, wait: float | None = None) -> None:
    """End the containers of these pods by their own hooks and grace periods, and keep them so.

    Their names, addresses and ports are free afterwards; logs and records stay. Asked twice it is harmless.
    Raises TimedOut after `wait` seconds.
    """
    records = await in_thread(Records, node)
    for uid in uids:
        await in_thread(records.halt_pod, uid)
    await ensure_running(node)
    await call(node, "reconcile")

    def look() -> tuple[list[PodRecord], bool]:
        found = [record for record in records.pods() if record.uid in uids and record.halted]
        return found, all(record.state.ended for record in found)

    left, over = await until(node, look, wait)
    if not over:
        raise still_there([f"{each.key} ({each.state.message or 'ending'})" for each in left], wait)
