"""Remove a container and all that it has."""

from __future__ import annotations

import sqlite3

from orlop.kit.errors import Conflict
from orlop.pod import container, refresh
from orlop.pod.context import Pods
from orlop.pod.records import REMOVING, RUNNING


def remove_container(pods: Pods, name: str, force: bool = False) -> None:
    """Remove a container: runtime state, mounts, root, bundle, log, cgroup, record. None is fine.

    Raises Conflict where it runs, unless `force`: then it is killed. Raises what a part raises that cannot
    be removed; the container then stays, marked, and asking again (or `recover`) goes on.
    """
    row = pods.find_container(name)
    if row is None:
        return
    with pods.claim(row["id"]):
        row = pods.records.row("containers", row["id"])
        if row is None:
            return
        if not force:
            row = refresh.refreshed(pods, row)
            if row["state"] == RUNNING:
                raise Conflict(
                    f"container {row['name']}", "runs", hint="stop it first, or remove it with --force"
                )
        finish(pods, row)


def finish(pods: Pods, row: sqlite3.Row) -> None:
    """Remove the container of this record, whatever state it is in. The caller holds its claim."""
    identifier = row["id"]
    if row["state"] != REMOVING:
        pods.records.update("containers", identifier, state=REMOVING)
    pods.tell("remove_container", row["sandbox_id"], identifier)
    container.dismantle(pods, identifier, row["log_path"])
    pods.records.delete("containers", identifier)
    pods.release_claim(identifier)


def undo(pods: Pods, identifier: str) -> None:
    """Take back a container that could not be made; the error that led here is what counts."""
    row = pods.records.row("containers", identifier)
    if row is None:
        return
    try:
        finish(pods, row)
    except Exception as error:
        import logging  # only failures pay for it

        logging.getLogger(__name__).warning("container %s: %s; recovery goes on", row["name"], error)
