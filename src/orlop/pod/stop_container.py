"""Stop a container: its stop signal, a time of grace, then SIGKILL."""

from __future__ import annotations

import sqlite3

from orlop.kit import limits
from orlop.kit.errors import TimedOut
from orlop.pod import codec, refresh
from orlop.pod.context import Pods
from orlop.pod.records import CREATED, RUNNING, STARTING


def stop_container(pods: Pods, name: str, timeout: float = limits.STOP_GRACE) -> None:
    """The container has ended afterwards, and its record says how. One that is gone or has ended is fine.

    Raises TimedOut where processes survive SIGKILL for limits.KILL_WAIT seconds (stuck in the kernel).
    """
    row = pods.find_container(name)
    if row is None:
        return
    identifier, sandbox_id = row["id"], row["sandbox_id"]
    with pods.claim(identifier):
        row = _current(pods, identifier)
        if row is None:
            return
        asked = row["state"] == RUNNING and timeout > 0
        if asked:
            pods.engine.kill(identifier, codec.process(row["process"]).stop_signal)
    if asked:  # without the claim: a forced removal need not wait for the grace
        pods.engine.wait(identifier, timeout)
    with pods.claim(identifier):
        row = _current(pods, identifier)
        if row is not None:
            kill(pods, row)
        if asked or row is not None:
            pods.tell("stopped_container", sandbox_id, identifier)


def kill(pods: Pods, row: sqlite3.Row) -> None:
    """SIGKILL to the whole container, for whoever holds its claim. Raises TimedOut."""
    identifier = row["id"]
    pods.engine.kill(identifier, "SIGKILL", all=True)
    if pods.engine.wait(identifier, limits.KILL_WAIT) is None and refresh.alive(row["pid"], row["pid_start"]):
        raise TimedOut(
            f"container {row['name']}",
            f"still runs {limits.KILL_WAIT:g} s after SIGKILL",
            hint=f"see what it waits for: cat /proc/{row['pid']}/stack",
        )
    refresh.record_end(pods, row, patient=True)


def _current(pods: Pods, identifier: str) -> sqlite3.Row | None:
    """The record, if the container has not ended yet."""
    row = pods.records.row("containers", identifier)
    if row is not None and row["state"] == STARTING:  # of a process that died: its claim is ours
        refresh.settle(pods, row)
        row = pods.records.row("containers", identifier)
    if row is None:
        return None
    row = refresh.refreshed(pods, row)
    if refresh.cannot_start(row):
        refresh.record_failure(pods, row)
        return None
    return row if row["state"] in (CREATED, RUNNING) else None
