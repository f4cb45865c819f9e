"""Wait until a container has ended."""

from __future__ import annotations

from orlop.pod import refresh
from orlop.pod.context import Pods, as_container
from orlop.pod.model import Container
from orlop.pod.records import CREATED, RUNNING, STARTING


def wait_container(pods: Pods, name: str, timeout: float | None = None) -> Container:
    """The container once it has ended, or as it is after `timeout` seconds. Raises NotFound."""
    row = refresh.refreshed(pods, pods.container_row(name))
    if row["state"] in (CREATED, STARTING, RUNNING):
        if pods.engine.wait(row["id"], timeout) is not None:
            refresh.record_end(pods, row, patient=True)
        row = refresh.refreshed(pods, pods.container_row(row["id"]))
    return as_container(row)
