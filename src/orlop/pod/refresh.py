"""The truth about a container: its record, corrected by what the kernel and the exit file say."""

from __future__ import annotations

import sqlite3

from orlop.kit import limits
from orlop.pod.context import Pods
from orlop.pod.records import (
    CREATED,
    EXITED,
    LOST,
    LOST_EXIT_CODE,
    RUNNING,
    START_ERROR,
    START_EXIT_CODE,
    STARTING,
)
from orlop.runtime.processes import alive, start_time

__all__ = [
    "alive",
    "cannot_start",
    "end_values",
    "record_end",
    "record_failure",
    "refreshed",
    "settle",
    "start_time",
]

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.exits import Exit


def refreshed(pods: Pods, row: sqlite3.Row) -> sqlite3.Row:
    """The row as it is now; a change that is found is recorded."""
    state = row["state"]
    if state == RUNNING and not alive(row["pid"], row["pid_start"]):
        record_end(pods, row, patient=True)
    elif state == CREATED and not cannot_start(row) and not alive(row["pid"], row["pid_start"]):
        record_end(pods, row, patient=False)
    elif state == STARTING and pods.is_free(row["id"]):
        settle(pods, row)
    else:
        return row
    return pods.records.row("containers", row["id"]) or row


def cannot_start(row: sqlite3.Row) -> bool:
    """Whether its program was found to be no program, which its start has to tell."""
    return bool(row["state"] == CREATED and row["reason"] == START_ERROR)


def record_failure(pods: Pods, row: sqlite3.Row) -> None:
    """Write down that a container that `cannot_start` did not."""
    pods.records.update(
        "containers",
        row["id"],
        only_in=(CREATED,),
        state=EXITED,
        exit_code=START_EXIT_CODE,
        finished=pods.now(),
    )


def settle(pods: Pods, row: sqlite3.Row) -> None:
    """A start that died in the middle: ask the runtime whether it happened."""
    exit_ = pods.engine.exit_of(row["id"])
    if exit_ is not None or not alive(row["pid"], row["pid_start"]):
        record_end(pods, row, patient=True)
        return
    started = pods.engine.state(row["id"]) == RUNNING
    values: dict[str, object] = {"state": RUNNING, "started": pods.now()} if started else {"state": CREATED}
    pods.records.update("containers", row["id"], only_in=(STARTING,), **values)


def record_end(pods: Pods, row: sqlite3.Row, *, patient: bool) -> None:
    """Write down how the container ended. `patient`: wait for conmon to say, which takes it a moment."""
    engine, identifier = pods.engine, row["id"]
    exit_ = engine.wait(identifier, limits.EXIT_RECORD) if patient else engine.exit_of(identifier)
    values = end_values(pods, exit_, row["started"])
    pods.records.update("containers", identifier, only_in=(CREATED, STARTING, RUNNING), **values)


def end_values(pods: Pods, exit_: Exit | None, started: float) -> dict[str, object]:
    """The columns of a container that ended so; None: nobody saw how."""
    if exit_ is None:
        return {
            "state": EXITED,
            "exit_code": LOST_EXIT_CODE,
            "reason": LOST,
            "message": "it ended and nobody recorded how",
            "finished": pods.now(),
            "pid": 0,
        }
    reason = "OOMKilled" if exit_.oom_killed else "Completed" if exit_.code == 0 else "Error"
    return {
        "state": EXITED,
        "exit_code": exit_.code,
        "reason": reason,
        "message": "",
        "finished": max(exit_.finished, started),  # a file's time may be 4 ms behind the clock
        "pid": 0,
    }
