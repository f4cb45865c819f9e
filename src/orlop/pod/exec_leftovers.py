"""Files of execs whose Orlop was killed: exec-*.pid in a bundle, of a process that is gone."""

from __future__ import annotations

import contextlib
import os
import time

from orlop.pod.context import Pods
from orlop.runtime.conmon import number

_YOUNG = 60.0  # seconds; the runtime may not have written the number yet


def remove(pods: Pods) -> tuple[int, bool]:
    """Remove them. Returns how many went, and whether there are others, of execs that may be at work."""
    removed, others = 0, False
    bundles = pods.node.in_state("bundles")
    for bundle in _names(bundles):
        for name in _names(f"{bundles}/{bundle}"):
            path = f"{bundles}/{bundle}/{name}"
            if not (name.startswith("exec-") and name.endswith(".pid")):
                continue
            if not _is_dead(path):
                others = True
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
                removed += 1
    return removed, others


def _is_dead(path: str) -> bool:
    try:
        if time.time() - os.stat(path).st_mtime < _YOUNG:
            return False
    except FileNotFoundError:
        return False
    pid = number(path)
    return pid <= 0 or not os.path.exists(f"/proc/{pid}")


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
