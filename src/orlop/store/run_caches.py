"""The folders of builds' RUN --mount=type=cache, as far as the store measures and removes them.

root/build/cache/NAME is one, its user holds NAME.lock beside it; `build.caches` makes them.
"""

from __future__ import annotations

import os
import time

from orlop.kit import files, limits, locks
from orlop.store.layout import Layout
from orlop.store.rootfs import tree_usage


def folder(layout: Layout) -> str:
    return f"{layout.root}/build/cache"


def listed(layout: Layout) -> list[tuple[str, int]]:
    """Names, and the bytes that they take."""
    place = folder(layout)
    names = sorted(os.listdir(place)) if os.path.isdir(place) else []
    return [(name, tree_usage(f"{place}/{name}")[0]) for name in names if not name.endswith(".lock")]


def prune(layout: Layout, *, everything: bool) -> int:
    """Remove those that no build uses and none has used for limits.BUILD_CACHE_AGE; the bytes that went."""
    freed = 0
    for name, size in listed(layout):
        path = f"{folder(layout)}/{name}"
        with locks.attempt(f"{path}.lock") as ours:
            if ours and (everything or time.time() - os.stat(path).st_mtime > limits.BUILD_CACHE_AGE):
                files.remove_tree(path)
                freed += size
    return freed
