"""The layer is in the store afterwards, whoever else wants it at the same time."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from orlop.kit import files, locks
from orlop.kit.database import Database
from orlop.store import leases
from orlop.store.errors import explained
from orlop.store.layout import Layout
from orlop.store.model import StoreSettings
from orlop.store.unpack.listing import Listing
from orlop.store.workspace import sweep, work_folder

if TYPE_CHECKING:
    import sqlite3

    from orlop.image.digest import Digest
    from orlop.image.sink import LayerRequest, Reader
    from orlop.kit.progress import Meter
    from orlop.store.blobs.write import BlobWriter
    from orlop.store.unpack.layer import Unpacked
    from orlop.store.unpack.target import Target


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

    Order: make and sync it below tmp/, the blob beside it; rename to layers/<n>, sync that name; rename the
    blob and commit the rows of both. Before the commit a crash leaves a folder that no row names (tmp/ or
    layers/<n>) or such a blob, which `prune` and `check` remove.
    """
    with leases.hold(layout):
        if _known(database, layer) and not _wanted(database, settings, layer):
            meter.note("already there")
            return False
        # One lock a diff: five processes and all their threads fetch it once.
        with locks.hold(layout.diff_lock(layer.diff_id), tick=tick):
            known = _known(database, layer)
            if known and not _wanted(database, settings, layer):
                meter.note("already there")
                return False
            meter.note("fetching")
            with open_blob() as reader:
                if known:
                    _fetch_blob(layout, database, layer, reader, tick)
                else:
                    _fetch(layout, database, settings, layer, reader, tick)
            return True


def _known(database: Database, layer: LayerRequest) -> bool:
    """The diff is there; the layer is named now if it was not (equal diffs on other parents are shared)."""
    there = "SELECT 1 FROM diffs WHERE diff_id = ? AND broken = 0"
    if not database.query(there, (layer.diff_id,)):
        return False
    with database.transaction() as rows:
        if rows.execute(there, (layer.diff_id,)).fetchone() is None:
            return False
        ask_for(rows, layer.chain_id, layer.parent, layer.diff_id)
    return True


def ask_for(rows: sqlite3.Connection, chain_id: Digest, parent: Digest | None, diff_id: Digest) -> None:
    """The diff, which is there, is the layer on top of `parent`; somebody counts on it now."""
    rows.execute(
        "INSERT INTO layers (chain_id, parent, diff_id, asked) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (chain_id) DO UPDATE SET asked = excluded.asked",
        (chain_id, parent, diff_id, time.time()),
    )


def _wanted(database: Database, settings: StoreSettings, layer: LayerRequest) -> bool:
    """Whether the blob has to be kept as well. One that is the tar in a layer's image needs no fetching."""
    from orlop.store.blobs import write

    if not write.wanted(database, settings, layer.blob):
        return False
    if layer.blob != layer.diff_id:
        return True
    with database.transaction() as rows:
        there = rows.execute(
            "SELECT name FROM diffs WHERE diff_id = ? AND form = 'erofs' AND broken = 0", (layer.diff_id,)
        ).fetchone()
        if there is not None:
            _record_within(rows, layer, there[0], layer.size)
    return there is None


def _fetch_blob(
    layout: Layout, database: Database, layer: LayerRequest, reader: Reader, tick: Callable[[], None]
) -> None:
    """The blob alone: what it unpacks to is there."""
    from orlop.store.blobs.put import put_blob

    put_blob(layout, database, layer.blob, layer.size, reader, tick)


def _fetch(
    layout: Layout,
    database: Database,
    settings: StoreSettings,
    layer: LayerRequest,
    reader: Reader,
    tick: Callable[[], None],
) -> None:
    from orlop.store.blobs import write
    from orlop.store.unpack.layer import unpack  # heavy: hashlib, isal, threads

    sweep(layout.tmp)
    form = chosen_form(layout, settings)
    within = form == "erofs" and layer.blob == layer.diff_id  # the image holds the blob itself
    keep = write.wanted(database, settings, layer.blob)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(work_folder(layout.tmp))
        target = stack.enter_context(contextlib.closing(_target(form, f"{work}/layer", layer.diff_id)))
        blob = None
        if keep and not within:
            blob = stack.enter_context(_blob_writer(f"{work}/blob"))
        done = unpack(reader, target, layer.diff_id, settings=settings, tick=tick, keep=blob)
        if isinstance(listing := getattr(target.writer, "listing", None), Listing):
            _keep_listing(f"{work}/layer", listing)
        _commit(layout, database, layer, f"{work}/layer", form, done, blob, within=keep and within)


def chosen_form(layout: Layout, settings: StoreSettings) -> str:
    """The form of layers that come now: "files" or "erofs". Raises Unsupported where it cannot be had."""
    if settings.layers == "files":
        return "files"
    from orlop.store.erofs import support

    if support.mountable(layout):
        return "erofs"
    if settings.layers == "erofs":
        raise support.unsupported(layout)
    return "files"


@explained
def _target(form: str, folder: str, diff_id: str) -> Target:
    subject = f"layer {diff_id}"
    if form == "erofs":
        from orlop.store.erofs.target import ErofsTarget

        os.mkdir(folder, 0o700)
        return ErofsTarget(f"{folder}/image", subject, diff_id)
    from orlop.store.unpack.target import FileTarget

    os.makedirs(f"{folder}/diff", mode=0o755)
    return FileTarget(f"{folder}/diff", subject)


@explained
def _blob_writer(path: str) -> BlobWriter:
    from orlop.store.blobs.write import BlobWriter

    return BlobWriter(path)


@explained
def _keep_listing(folder: str, listing: Listing) -> None:
    files.write_atomic(f"{folder}/listing", listing.packed(), mode=0o600)


@explained
def _commit(
    layout: Layout,
    database: Database,
    layer: LayerRequest,
    folder: str,
    form: str,
    done: Unpacked,
    blob: BlobWriter | None,
    *,
    within: bool,
) -> None:
    """The layer and its blob, in one transaction. `within`: the blob is the tar in the layer's image."""
    from orlop.store.blobs.write import place, record, sync_place

    if blob is not None:
        place(layout, layer.blob, blob.path)
    number = _placed(layout, database, folder)
    # All names are there before the first is synced: one commit of the file system's journal takes them all.
    for name in (layout.layer(number), layout.layers):
        files.sync_folder(name)
    if blob is not None:
        sync_place(layout, layer.blob)
    with database.transaction() as rows:
        _moved(rows, layer.diff_id, number, form)
        rows.execute(
            "INSERT INTO diffs (diff_id, name, size, entries, packed, blob, opaque, form)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (diff_id) DO UPDATE SET name = excluded.name, form = excluded.form, broken = 0",
            (
                layer.diff_id,
                number,
                done.size,
                done.entries,
                done.packed,
                layer.blob,
                done.opaque_root,
                form,
            ),
        )  # the conflict: `check` found the old one damaged
        ask_for(rows, layer.chain_id, layer.parent, layer.diff_id)
        if blob is not None:
            record(layout, rows, layer.blob, blob.path, blob.size)
        elif within:
            _record_within(rows, layer, number, done.packed)


def _moved(rows: sqlite3.Connection, diff_id: Digest, number: str, form: str) -> None:
    """The archive within the image that `check` found damaged is the one within the new image, if any."""
    old = "layer = (SELECT name FROM diffs WHERE diff_id = ?)"
    if form == "erofs":
        rows.execute(f"UPDATE blobs SET layer = ? WHERE {old}", (number, diff_id))  # noqa: S608
    else:
        rows.execute(f"DELETE FROM blobs WHERE {old}", (diff_id,))  # noqa: S608


def _placed(layout: Layout, database: Database, folder: str) -> str:
    """Rename the folder to the next number, which is returned.

    The number's own commit waits for no disk: one that a power cut took back may have been used.
    """
    files.make_folder(layout.layers)
    while True:
        with database.transaction(durable=False) as rows:
            said = rows.execute("UPDATE counter SET next = next + 1 RETURNING next - 1").fetchall()
        number = str(int(said[0][0]))
        try:
            os.rename(folder, layout.layer(number))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        else:
            return number


def _record_within(rows: sqlite3.Connection, layer: LayerRequest, name: str, size: int) -> None:
    rows.execute(
        "INSERT INTO blobs (digest, size, layer, added) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET layer = excluded.layer, added = excluded.added",
        (layer.blob, size, name, time.time()),
    )
