"""What a daemon removes while others work: leftovers of interrupted work, never an image."""

from __future__ import annotations

import contextlib
import os
import time

from orlop.kit import limits, locks
from orlop.kit.database import Database
from orlop.kit.errors import TimedOut
from orlop.kit.value import dataclass
from orlop.store import leases
from orlop.store.blobs.unused import USED, remove_files
from orlop.store.check import stale_mounts, take_away
from orlop.store.erofs.mounts import release_idle
from orlop.store.layout import Layout
from orlop.store.prune import forget_unused, remove_folders, remove_leftovers
from orlop.store.workspace import sweep


@dataclass(frozen=True)
class Collected:
    """Counts of what went. `again`: something is too young, or a pull was under way: look later."""

    layers: int = 0
    leftovers: int = 0
    again: bool = False


def collect(layout: Layout, database: Database) -> Collected:
    """See `Store.collect`."""
    swept = sweep(layout.tmp)
    try:
        with locks.hold(layout.removal_lock, timeout=0):
            return _alone(layout, database, swept)
    except TimedOut:  # somebody else removes
        return Collected(leftovers=swept, again=True)


def _alone(layout: Layout, database: Database, swept: int) -> Collected:
    before = leases.oldest(layout)
    mounts = stale_mounts(layout, database)
    for image_id, container_id in mounts:
        take_away(layout, database, image_id, container_id)
    young = _young(layout, database)
    names: list[str] = []
    blobs: list[str] = []
    if not young:
        _, names, blobs = forget_unused(database, before, blob_age=limits.COLLECT_LAYER_AGE)
        remove_folders(layout, names)
        remove_files(layout, database, blobs)
        young = bool(
            database.query(f"SELECT 1 FROM blobs WHERE digest NOT IN ({USED}) LIMIT 1")  # noqa: S608
        )
    leftovers, _ = remove_leftovers(layout, database, before)
    release_idle(layout, database)
    leftovers += swept + len(mounts) + len(blobs)
    return Collected(layers=len(names), leftovers=leftovers, again=young)


def _young(layout: Layout, database: Database) -> bool:
    """Whether a layer that no image has came so lately that its pull may be tried again."""
    rows = database.query(
        "SELECT d.name FROM diffs d WHERE d.diff_id NOT IN (SELECT l.diff_id FROM layers l"
        " JOIN image_layers i ON i.chain_id = l.chain_id)"
    )
    newest = 0.0
    for row in rows:
        with contextlib.suppress(FileNotFoundError):
            newest = max(newest, os.stat(layout.layer(row["name"])).st_mtime)
    return time.time() - newest < limits.COLLECT_LAYER_AGE
