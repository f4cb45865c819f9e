"""Begin a container's log anew, after somebody moved the file away."""

from __future__ import annotations

from orlop.pod import codec, container
from orlop.pod.context import Pods
from orlop.pod.exec_container import running


def reopen_log(pods: Pods, name: str) -> None:
    """A new file is at the log's path afterwards; until then conmon writes into the old one: no line is lost.

    A file that nobody moved is kept. Raises NotFound, Conflict (the container does not run: nothing writes),
    InvalidInput (somebody put a link there), Unavailable (conmon does not answer).
    """
    row = running(pods, name)
    pod = codec.sandbox_config(pods.sandbox_row(row["sandbox_id"])["config"])
    container.check_log(row["log_path"], pod.log_directory)
    pods.engine.reopen_log(row["id"], row["log_path"])
