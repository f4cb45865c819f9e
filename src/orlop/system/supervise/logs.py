"""Containers' logs are rotated by size while they run: conmon writes on, into a new file."""

from __future__ import annotations

import os
from dataclasses import dataclass

from orlop.kit import limits
from orlop.pod.context import Pods


@dataclass(frozen=True)
class LogSettings:
    """Section [supervise] of the configuration: bytes of a log file, and files kept of each container."""

    log_size: int = limits.LOG_SIZE
    log_files: int = limits.LOG_FILES


def rotate_grown(pods: Pods, uid: str, settings: LogSettings) -> None:
    """Rotate the logs of the pod's running containers that are longer than allowed."""
    for sandbox in pods.sandboxes(uid=uid, state="ready"):
        for container in pods.containers(sandbox.id, state="running"):
            if _size(container.log_path) > settings.log_size:
                pods.engine.rotate_log(container.id, container.log_path, settings.log_files)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
