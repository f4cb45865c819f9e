"""Start a container that was created."""

from __future__ import annotations

from orlop.kit.errors import Conflict, InvalidInput
from orlop.pod import refresh
from orlop.pod.context import Pods, as_container
from orlop.pod.model import Container
from orlop.pod.records import CREATED, RUNNING, STARTING


def start_container(pods: Pods, name: str) -> Container:
    """The container runs, or ran and has ended already. A running one is fine.

    Raises NotFound, Conflict (it has exited before), InvalidInput (its program cannot be executed, and it is
    over with that), and what `runtime` raises.
    """
    identifier = pods.container_row(name)["id"]
    with pods.claim(identifier) as claim:
        row = pods.container_row(identifier)
        if row["state"] == STARTING:  # of a process that died: its claim is ours
            refresh.settle(pods, row)
            row = pods.container_row(identifier)
        row = refresh.refreshed(pods, row)
        if row["state"] == RUNNING:
            return as_container(row)
        if refresh.cannot_start(row):
            refresh.record_failure(pods, row)
            raise InvalidInput(
                f"container {row['name']}", row["message"], hint="check the command and the image's PATH"
            )
        if row["state"] != CREATED:
            raise Conflict(
                f"container {row['name']}", "has ended, and a container runs once", hint="create a new one"
            )
        pods.tell("start_container", row["sandbox_id"], identifier)
        started = pods.now()
        pods.records.update("containers", identifier, state=STARTING)
        try:
            # A start that outlives us keeps the claim: until it is over nobody judges its outcome.
            pods.engine.start(identifier, inherited=(claim,))
        except BaseException:
            refresh.settle(pods, pods.container_row(identifier))
            raise
        pods.records.update("containers", identifier, state=RUNNING, started=started)
        pods.tell("started_container", row["sandbox_id"], identifier)
        return as_container(pods.container_row(identifier))
