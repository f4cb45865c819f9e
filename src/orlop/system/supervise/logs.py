"""Containers' logs are rotated by size while they run: conmon writes on, into a new file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass

from orlop.kit import limits
from orlop.kit.errors import NotFound
from orlop.pod.context import Pods


@dataclass(frozen=True)
class LogSettings:
    """Section [supervise] of the configuration: bytes of a log file, and files kept of each container."""

    log_size: int = limits.LOG_SIZE
    log_files: int = limits.LOG_FILES


def rotate_grown(pods: Pods, container_ids: Collection[str], settings: LogSettings) -> None:
    """Rotate the logs of these containers that are longer than allowed, where they still run.

    Costs one stat(2) a container where nothing is to be done.
    """
    for identifier in container_ids:
        if _size(pods.own_log(identifier)) <= settings.log_size:
            continue
        with contextlib.suppress(NotFound):  # it was removed meanwhile
            container = pods.container(identifier)
            if container.state == "running":
                pods.engine.rotate_log(container.id, container.log_path, settings.log_files)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
