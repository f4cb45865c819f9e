"""Remove a pod and all that it has."""

from __future__ import annotations

import sqlite3
from functools import partial

from orlop.pod import sandbox, teardown
from orlop.pod.context import Pods
from orlop.pod.records import REMOVING
from orlop.pod.remove_container import remove_container
from orlop.pod.stop_sandbox import dismantle


def remove_sandbox(pods: Pods, name: str) -> None:
    """Remove the pod: its containers (killed where they run), network, namespaces, files and record.

    None of that name is fine. Raises what a part raises that cannot be removed; the pod then stays, marked,
    and asking again (or `recover`) goes on.
    """
    row = pods.find_sandbox(name)
    if row is None:
        return
    with pods.claim(row["id"]):
        row = pods.records.row("sandboxes", row["id"])
        if row is not None:
            finish(pods, row)


def finish(pods: Pods, row: sqlite3.Row) -> None:
    """Remove the sandbox of this record, whatever state it is in. The caller holds its claim."""
    identifier = row["id"]
    if row["state"] != REMOVING:
        pods.records.update("sandboxes", identifier, state=REMOVING)
    rows = pods.records.rows("containers", "sandbox_id = ?", (identifier,))
    sandbox.at_once([partial(remove_container, pods, container["id"], force=True) for container in rows])
    if row["held"]:
        dismantle(pods, row)
    else:  # stopped: only the runtime may have left a cgroup with the last container
        pods.remove_group(identifier)
    pods.tell("remove_sandbox", identifier)
    pods.records.delete("sandboxes", identifier)
    pods.release_claim(identifier)
    teardown.when_empty(pods)


def undo(pods: Pods, identifier: str) -> None:
    """Take back a sandbox that could not be made; the error that led here is what counts."""
    row = pods.records.row("sandboxes", identifier)
    if row is None:
        return
    try:
        finish(pods, row)
    except Exception as error:
        import logging  # only failures pay for it

        logging.getLogger(__name__).warning("pod %s: %s; recovery goes on", row["name"], error)
