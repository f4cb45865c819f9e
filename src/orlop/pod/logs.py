"""What a container wrote."""

from __future__ import annotations

from orlop.pod.context import Pods
from orlop.pod.records import CREATED, RUNNING, STARTING

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.runtime.logs import LogRecord


def logs(
    pods: Pods, name: str, *, tail: int | None = None, since: float = 0.0, follow: bool = False
) -> Iterator[LogRecord]:
    """The container's records, rotated files included: the last `tail`, or all, since that moment.

    `follow` goes on until it has ended. Times in seconds since the epoch. Raises NotFound.
    """
    from orlop.runtime import logs as files

    row = pods.container_row(name)
    return files.read(
        row["log_path"], tail=tail, since=since, follow=follow, ended=lambda: _ended(pods, row["id"])
    )


def _ended(pods: Pods, identifier: str) -> bool:
    from orlop.pod import refresh

    row = pods.records.row("containers", identifier)
    return row is None or refresh.refreshed(pods, row)["state"] not in (CREATED, STARTING, RUNNING)
