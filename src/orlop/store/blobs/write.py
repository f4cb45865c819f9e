"""A blob on its way into the store: written to a temporary name, synced, renamed, then recorded."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

from orlop.kit import files, limits
from orlop.kit.database import Database
from orlop.store.layout import Layout
from orlop.store.model import StoreSettings

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3
    from types import TracebackType

_PART = 8 * limits.MIB
_SYNC_FILE_RANGE_WRITE = 2

_libc = ctypes.CDLL(None, use_errno=True)


class BlobWriter:
    """A new file at `path`. For one thread. Raises OSError as open(2) and write(2) do.

    As a context manager it closes the file at the end; what becomes of the name is its owner's affair.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.size = 0
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """All of `piece`; the disk begins on each part that is complete, so that `finish` is short."""
        before = self.size
        view = memoryview(piece)
        while view:
            count = os.write(self._file, view)
            self.size += count
            view = view[count:]
        start, end = before // _PART, self.size // _PART
        if end > start:
            offset, length = ctypes.c_int64(start * _PART), ctypes.c_int64((end - start) * _PART)
            _libc.sync_file_range(self._file, offset, length, _SYNC_FILE_RANGE_WRITE)  # a hint: may fail

    def finish(self) -> int:
        """The bytes are durable, the file is closed; returns their number."""
        os.fdatasync(self._file)
        self.close()
        return self.size

    def close(self) -> None:
        """Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def adopt(layout: Layout, rows: sqlite3.Connection, digest: str, path: str, size: int) -> None:
    """The finished, verified file `path` is the blob from now on: renamed, its name durable, its row made.

    `path` lies on the store's file system; `rows` is an open transaction, inside a lease. A crash before its
    commit leaves a file without a row, which `prune` and `check` remove. A blob that lies within a layer
    already stays there, and `path` goes.
    """
    there = rows.execute("SELECT layer FROM blobs WHERE digest = ?", (digest,)).fetchone()
    if there is not None and there[0] and os.path.exists(layout.image_file(there[0])):
        os.unlink(path)
        return
    _make_folder(layout, digest)
    os.rename(path, layout.blob(digest))
    sync_place(layout, digest)
    _insert(rows, digest, size)


def place(layout: Layout, digest: str, path: str) -> None:
    """The finished, verified file `path` has the blob's name, too; `sync_place` makes that durable."""
    _make_folder(layout, digest)
    other = f"{path}.{files.unique()}"
    os.link(path, other)
    os.rename(other, layout.blob(digest))  # over a damaged one
    with contextlib.suppress(FileNotFoundError):  # rename(2) leaves a link to the same file alone
        os.unlink(other)


def _make_folder(layout: Layout, digest: str) -> None:
    folder = os.path.dirname(layout.blob(digest))
    if not os.path.isdir(folder):
        files.make_folder(folder)
        files.sync_folder(layout.blobs)
        files.sync_folder(layout.root)


def sync_place(layout: Layout, digest: str) -> None:
    files.sync_folder(os.path.dirname(layout.blob(digest)))


def record(layout: Layout, rows: sqlite3.Connection, digest: str, path: str, size: int) -> None:
    """The row of what `place` has put there and `sync_place` made durable.

    Who removed an older one of this digest may have taken the new file for it: then it is placed again.
    """
    if not os.path.exists(layout.blob(digest)):
        place(layout, digest, path)
        sync_place(layout, digest)
    _insert(rows, digest, size)


def _insert(rows: sqlite3.Connection, digest: str, size: int) -> None:
    rows.execute(
        "INSERT INTO blobs (digest, size, layer, added) VALUES (?, ?, '', ?)"
        " ON CONFLICT (digest) DO UPDATE SET size = excluded.size, layer = '', added = excluded.added",
        (digest, size, time.time()),
    )


def wanted(database: Database, settings: StoreSettings, digest: str) -> bool:
    """Whether the blob of a layer that is pulled shall be kept, and is not there yet."""
    if not settings.keep_blobs:
        return False
    from orlop.store.blobs.put import ask_for

    with database.transaction(durable=False) as rows:
        return ask_for(rows, digest) is None
