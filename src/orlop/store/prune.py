"""Remove what nothing needs: rows first, in one transaction, then the folders that no row names."""

from __future__ import annotations

import os
import time

from orlop.kit import limits, locks
from orlop.kit.database import Database
from orlop.store import leases, reserve, run_caches
from orlop.store.blobs import unused
from orlop.store.blobs.unused import remove_files
from orlop.store.erofs import mounts
from orlop.store.image_mounts import is_image_mounted, release
from orlop.store.layout import Layout
from orlop.store.model import Pruned, StoreSettings
from orlop.store.rootfs import tree_usage
from orlop.store.workspace import dead, discard, sweep

_USED_LAYERS = "SELECT chain_id FROM image_layers"
_UNUSED = "SELECT id FROM images WHERE id NOT IN (SELECT image_id FROM uses) AND asked <= ?"
_NAMELESS = (
    "id NOT IN (SELECT image_id FROM names) AND id NOT IN (SELECT image_id FROM build_cache WHERE used > ?)"
)


def prune(layout: Layout, database: Database, settings: StoreSettings, *, all_images: bool) -> Pruned:
    """See `Store.prune`."""
    with locks.hold(layout.removal_lock, timeout=settings.prune_wait):
        before = leases.oldest(layout)
        reserve.release(layout)
        gone = _remove_images(layout, database, before, all_images=all_images)
        layers, names, blobs = forget_unused(database, before)
        of_layers = sum(tree_usage(layout.layer(name))[0] for name in names)
        remove_folders(layout, names)
        of_blobs = remove_files(layout, database, blobs)
        leftovers, of_leftovers = remove_leftovers(layout, database, before)
        mounts.release_idle(layout, database)
        of_leftovers += run_caches.prune(layout, everything=all_images)
        _remove_locks(layout)
    return Pruned(
        images=tuple(gone),
        layers=tuple(layers),
        leftovers=leftovers,
        freed=of_layers + of_blobs + of_leftovers,
        blobs=tuple(blobs),
    )


def forget_unused(
    database: Database, before: float, *, blob_age: float = 0.0
) -> tuple[list[str], list[str], list[str]]:
    """Layers that no image has, diffs that no layer has, blobs (so old, in seconds) that nothing names.

    Nothing that was asked for after the time `before` (leases.oldest). Returns chain IDs, names of folders
    that may go now, and digests of blobs whose files may.
    """
    with database.transaction() as rows:
        blobs = unused.forget_unused(rows, before, age=blob_age)
        dangling = f"chain_id NOT IN ({_USED_LAYERS}) AND asked <= ?"
        layers = [
            row[0]
            for row in rows.execute(f"SELECT chain_id FROM layers WHERE {dangling}", (before,))  # noqa: S608
        ]
        rows.executemany("DELETE FROM layers WHERE chain_id = ?", [(chain_id,) for chain_id in layers])
        alone = "diff_id NOT IN (SELECT diff_id FROM layers)"
        # A blob that lies within a layer's file may outlive the layer: then the folder goes after the blob.
        kept = "name IN (SELECT layer FROM blobs)"
        query = f"SELECT name FROM diffs WHERE {alone} AND NOT {kept}"  # noqa: S608
        names = [row[0] for row in rows.execute(query)]
        rows.execute(f"DELETE FROM diffs WHERE {alone}")  # noqa: S608
    return layers, names, blobs


def remove_folders(layout: Layout, names: list[str]) -> None:
    """The folders of diffs that are forgotten."""
    mounts.release(layout, names)
    for name in names:
        discard(layout.tmp, layout.layer(name))


def remove_leftovers(layout: Layout, database: Database, before: float) -> tuple[int, int]:
    """Folders that no row names, and work whose owner is dead; returns their count and bytes.

    Nothing that came after the time `before` (leases.oldest).
    """
    paths = [*dead(layout.tmp), *stray_folders(layout, database, before)]
    freed = sum(tree_usage(path)[0] for path in paths)
    sweep(layout.tmp)
    for path in paths:
        _remove_stray(layout, database, path)
    blobs = unused.stray(layout, database, before)
    freed += remove_files(layout, database, blobs)
    uploads = unused.old_uploads(layout)
    for path in uploads:
        freed += tree_usage(path)[0] if os.path.isdir(path) else os.lstat(path).st_blocks * 512
        discard(layout.tmp, path)
    return len(paths) + len(blobs) + len(uploads), freed


def stray_folders(layout: Layout, database: Database, before: float) -> list[str]:
    """What lies in layers/ and rootfs/ without a row, and came before that time."""
    found = []
    for folder, sql in (
        (layout.layers, "SELECT name FROM diffs UNION SELECT layer FROM blobs"),
        (layout.all_rootfs, "SELECT container_id FROM rootfs"),
    ):
        there = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        known = {row[0] for row in database.query(sql)}
        paths = [f"{folder}/{name}" for name in sorted(there - known)]
        found += [path for path in paths if leases.is_stray(path, before)]
    return found


def _remove_stray(layout: Layout, database: Database, path: str) -> None:
    if os.path.dirname(path) == layout.all_rootfs:
        name = os.path.basename(path)
        with locks.hold(layout.container_lock(name)):  # nobody makes it just now
            if database.query("SELECT 1 FROM rootfs WHERE container_id = ?", (name,)):
                return
            discard(layout.tmp, path)
    elif os.path.dirname(path) == layout.layers:
        mounts.release(layout, [os.path.basename(path)])
        discard(layout.tmp, path)


def _remove_images(layout: Layout, database: Database, before: float, *, all_images: bool) -> list[str]:
    with database.transaction() as rows:
        if all_images:
            found = rows.execute(_UNUSED, (before,))
        else:
            found = rows.execute(f"{_UNUSED} AND {_NAMELESS}", (before, time.time() - limits.BUILD_CACHE_AGE))
        gone = [row[0] for row in found if not is_image_mounted(layout, row[0])]
        rows.executemany("DELETE FROM images WHERE id = ?", [(image_id,) for image_id in gone])
    for image_id in gone:
        release(layout, image_id)
    return gone


def _remove_locks(layout: Layout) -> None:
    """Lock files of diffs and pulls that nobody holds."""
    for name in os.listdir(layout.locks):
        if name.startswith(("diff-", "pull-")):
            locks.remove(f"{layout.locks}/{name}")
