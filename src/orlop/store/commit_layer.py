"""A folder that was filled here becomes a layer of the store, without a copy of its files.

The archive is written once, for its digest and to be pushed later (`blobs`); the folder itself is what the
layer consists of from then on.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence

from orlop.image.digest import Digest
from orlop.kit import files, kernel, locks
from orlop.kit.database import Database
from orlop.kit.value import dataclass
from orlop.store.blobs.put import ask_for as ask_for_blob
from orlop.store.blobs.write import BlobWriter, adopt
from orlop.store.ensure_layer import ask_for
from orlop.store.errors import explained
from orlop.store.layout import Layout
from orlop.store.pack.folder import Packed, Times, pack

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3

_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS


@dataclass(frozen=True)
class Committed:
    """A layer that is there now: of its archive, `size` is the bytes."""

    chain_id: Digest
    diff_id: Digest
    size: int


@explained
def commit_layer(
    layout: Layout,
    database: Database,
    work: str,
    *,
    parent: Digest | None,
    below: Sequence[str],
    times: Times,
    tick: Callable[[], None] = lambda: None,
) -> Committed | None:
    """The folder `work`/layer/diff becomes the layer on top of the chain `parent`; None where it is empty.

    `work` is a work folder of the store (workspace.work_folder); `below` are the folders of the layers below,
    uppermost first, relative to layers/. The layer, and its archive as a blob, are durable and named when
    this returns. The caller holds a lease. Raises InvalidInput, LimitExceeded, Unavailable (no room).
    """
    folder = f"{work}/layer"
    digest = hashlib.sha256()
    with BlobWriter(f"{work}/blob") as blob:

        def write(piece: bytes | memoryview) -> None:
            digest.update(piece)
            blob.write(piece)

        lower = _Lower(layout.layers, below)
        try:
            packed = pack(
                f"{folder}/diff", write, times=times, hides=lower.has_folder, tick=tick, like=lower.root()
            )
        finally:
            lower.close()
        if not packed.entries:
            return None
        diff_id = Digest(f"sha256:{digest.hexdigest()}")
        chain_id = diff_id if parent is None else Digest.of(f"{parent} {diff_id}".encode())
        with locks.hold(layout.diff_lock(diff_id)):
            if not _known(database, chain_id, parent, diff_id):
                _sync(folder, packed, blob)
                number = _named(layout, database, diff_id, folder)
                with database.transaction() as rows:
                    if number:  # the archive is no more that within a layer which `check` found damaged
                        rows.execute(
                            "DELETE FROM blobs WHERE layer = (SELECT name FROM diffs WHERE diff_id = ?)",
                            (diff_id,),
                        )
                    adopt(layout, rows, diff_id, blob.path, blob.size)
                    if number:
                        _record(rows, diff_id, number, packed, blob.size)
                    ask_for(rows, chain_id, parent, diff_id)
    return Committed(chain_id, diff_id, blob.size)


def _known(database: Database, chain_id: Digest, parent: Digest | None, diff_id: Digest) -> bool:
    """The same diff is there whole, with its archive: then it is the layer now."""
    with database.transaction() as rows:
        there = "SELECT 1 FROM diffs WHERE diff_id = ? AND broken = 0"
        if not rows.execute(there, (diff_id,)).fetchone() or ask_for_blob(rows, diff_id) is None:
            return False
        ask_for(rows, chain_id, parent, diff_id)
    return True


def _sync(folder: str, packed: Packed, blob: BlobWriter) -> None:
    files.write_atomic(f"{folder}/listing", packed.listing.packed(), mode=0o600, durable=False)
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.syncfs(place)  # the archive too: one wait for the disk
    finally:
        os.close(place)
    blob.close()


def _named(layout: Layout, database: Database, diff_id: Digest, folder: str) -> str:
    """The number of the layer that the folder has become; "" where the diff is there, without its archive."""
    with database.transaction() as rows:
        there = "UPDATE layers SET asked = ? WHERE diff_id IN (SELECT diff_id FROM diffs WHERE broken = 0)"
        if rows.execute(f"{there} AND diff_id = ?", (time.time(), diff_id)).rowcount:
            return ""
        said = rows.execute("UPDATE counter SET next = next + 1 RETURNING next - 1").fetchall()
    number = str(int(said[0][0]))
    files.make_folder(layout.layers)
    os.rename(folder, layout.layer(number))
    files.sync_folder(layout.layers)
    return number


def _record(rows: sqlite3.Connection, diff_id: Digest, number: str, packed: Packed, size: int) -> None:
    rows.execute(
        "INSERT INTO diffs (diff_id, name, size, entries, packed, blob, opaque)"
        " VALUES (?, ?, ?, ?, ?, ?, 0)"
        " ON CONFLICT (diff_id) DO UPDATE SET name = excluded.name, broken = 0, form = 'files'",
        (diff_id, number, packed.size, len(packed.listing), size, diff_id),
    )


class _Lower:
    """The layers below, as far as they are folders."""

    def __init__(self, layers: str, below: Sequence[str]) -> None:
        self._opened = []
        for path in below:
            try:
                self._opened.append(os.open(f"{layers}/{path}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            except FileNotFoundError:
                continue

    def has_folder(self, path: bytes) -> bool:
        for folder in self._opened:
            try:
                os.close(kernel.openat2(folder, path, os.O_PATH | os.O_DIRECTORY, resolve=_BENEATH))
            except OSError:
                continue
            return True
        return False

    def root(self) -> os.stat_result | None:
        return os.fstat(self._opened[0]) if self._opened else None

    def close(self) -> None:
        for folder in self._opened:
            os.close(folder)
        self._opened = []
