"""The layer is in the store afterwards, whoever else wants it at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from orlop.kit import files, locks
from orlop.kit.database import Database
from orlop.store.errors import explained
from orlop.store.layout import Layout
from orlop.store.model import StoreSettings
from orlop.store.workspace import sweep, work_folder

if TYPE_CHECKING:
    from orlop.image.sink import LayerRequest, Reader
    from orlop.kit.progress import Meter
    from orlop.store.unpack.layer import Unpacked


def ensure_layer(
    layout: Layout,
    database: Database,
    settings: StoreSettings,
    layer: LayerRequest,
    open_blob: Callable[[], AbstractContextManager[Reader]],
    *,
    meter: Meter,
    tick: Callable[[], None],
) -> bool:
    """See `orlop.image.sink.Sink.ensure_layer`.

    Order: extract and sync below tmp/, rename to layers/<n>, sync that name, commit the row. Before the
    commit a crash leaves a folder that no row names (tmp/ or layers/<n>), which `prune` and `check` remove.
    """
    with locks.hold(layout.lease_lock, shared=True, tick=tick):
        if _known(database, layer):
            meter.note("already there")
            return False
        # One lock a diff: five processes and all their threads fetch it once.
        with locks.hold(layout.diff_lock(layer.diff_id), tick=tick):
            if _known(database, layer):
                meter.note("already there")
                return False
            meter.note("fetching")
            with open_blob() as reader:
                _fetch(layout, database, settings, layer, reader, tick)
            return True


def _known(database: Database, layer: LayerRequest) -> bool:
    """The diff is there; the layer is named now if it was not (equal diffs on other parents are shared)."""
    if not database.query("SELECT 1 FROM diffs WHERE diff_id = ? AND broken = 0", (layer.diff_id,)):
        return False
    if database.query("SELECT 1 FROM layers WHERE chain_id = ?", (layer.chain_id,)):
        return True
    with database.transaction() as rows:
        rows.execute(
            "INSERT OR IGNORE INTO layers (chain_id, parent, diff_id) VALUES (?, ?, ?)",
            (layer.chain_id, layer.parent, layer.diff_id),
        )
    return True


def _fetch(
    layout: Layout,
    database: Database,
    settings: StoreSettings,
    layer: LayerRequest,
    reader: Reader,
    tick: Callable[[], None],
) -> None:
    from orlop.store.unpack.layer import unpack  # heavy: hashlib, isal, threads

    sweep(layout.tmp)
    with work_folder(layout.tmp) as work:
        _make_diff(work)
        done = unpack(reader, f"{work}/layer/diff", layer.diff_id, settings=settings, tick=tick)
        _commit(layout, database, layer, f"{work}/layer", done)


@explained
def _make_diff(work: str) -> None:
    os.makedirs(f"{work}/layer/diff", mode=0o755)


@explained
def _commit(layout: Layout, database: Database, layer: LayerRequest, folder: str, done: Unpacked) -> None:
    files.write_atomic(f"{folder}/listing", done.listing.packed(), mode=0o600)
    with database.transaction() as rows:
        number = int(rows.execute("UPDATE counter SET next = next + 1 RETURNING next - 1").fetchall()[0][0])
    files.make_folder(layout.layers)
    os.rename(folder, layout.layer(str(number)))
    files.sync_folder(layout.layers)
    with database.transaction() as rows:
        rows.execute(
            "INSERT INTO diffs (diff_id, name, size, entries, packed, blob, opaque)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (diff_id) DO UPDATE SET name = excluded.name, broken = 0",  # `check` gave it up
            (
                layer.diff_id,
                str(number),
                done.size,
                done.entries,
                done.packed,
                layer.blob,
                done.opaque_root,
            ),
        )
        rows.execute(
            "INSERT OR IGNORE INTO layers (chain_id, parent, diff_id) VALUES (?, ?, ?)",
            (layer.chain_id, layer.parent, layer.diff_id),
        )
