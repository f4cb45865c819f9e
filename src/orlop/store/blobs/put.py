"""A blob from a stream, or from a file that is finished, into the store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from orlop.kit import limits
from orlop.kit.database import Database
from orlop.kit.errors import Corrupt
from orlop.store import leases
from orlop.store.blobs.write import BlobWriter, adopt
from orlop.store.layout import Layout
from orlop.store.workspace import work_folder

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3

    from orlop.image.digest import Digest
    from orlop.image.sink import Reader

_PIECE = 1 * limits.MIB


def put_blob(
    layout: Layout,
    database: Database,
    digest: Digest,
    size: int,
    reader: Reader,
    tick: Callable[[], None],
) -> None:
    """See `Store.put_blob`."""
    with leases.hold(layout):
        if is_there(layout, database, digest, size):
            return
        with work_folder(layout.tmp) as work, BlobWriter(f"{work}/blob") as writer:
            _copy(digest, size, reader, writer, tick)
            writer.finish()
            with database.transaction() as rows:
                adopt(layout, rows, digest, writer.path, size)


def adopt_blob(layout: Layout, database: Database, digest: Digest, path: str) -> None:
    """See `Store.adopt_blob`."""
    with leases.hold(layout):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fdatasync(file)
            size = os.fstat(file).st_size
        finally:
            os.close(file)
        with database.transaction() as rows:
            adopt(layout, rows, digest, path, size)


def is_there(layout: Layout, database: Database, digest: str, size: int) -> bool:
    """Recorded, and its file has the right length: a lost one is written again. Whoever asks counts on it."""
    if not database.query("SELECT 1 FROM blobs WHERE digest = ?", (digest,)):
        return False
    with database.transaction(durable=False) as write:
        layer = ask_for(write, digest)
    if layer is None:
        return False
    try:
        if layer:
            return os.path.exists(layout.image_file(layer))
        return os.stat(layout.blob(digest), follow_symlinks=False).st_size == size
    except FileNotFoundError:
        return False


def ask_for(rows: sqlite3.Connection, digest: str) -> str | None:
    """Somebody counts on the blob now: the layer that it lies within, or ""; None where it is not there, or
    `check` found it damaged."""
    found = rows.execute(
        "UPDATE blobs SET added = ? WHERE digest = ? AND added >= 0 RETURNING layer", (time.time(), digest)
    ).fetchall()
    return str(found[0][0]) if found else None


def _copy(digest: Digest, size: int, reader: Reader, writer: BlobWriter, tick: Callable[[], None]) -> None:
    import hashlib

    hasher = hashlib.new(digest.algorithm)
    buffer = bytearray(min(_PIECE, max(size, 1)))
    view = memoryview(buffer)
    while count := reader.readinto(buffer):
        tick()
        if writer.size + count > size:
            raise _wrong(digest, f"is longer than {size} bytes")
        hasher.update(view[:count])
        writer.write(view[:count])
    if writer.size != size:
        raise _wrong(digest, f"has {writer.size} bytes, not {size}")
    if hasher.hexdigest() != digest.encoded:
        raise _wrong(digest, f"has the digest {digest.algorithm}:{hasher.hexdigest()}")


def _wrong(digest: Digest, cause: str) -> Corrupt:
    return Corrupt(f"blob {digest}", cause, hint="send it again; if it stays so, its source is damaged")
