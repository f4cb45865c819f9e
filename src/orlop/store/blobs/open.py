"""A blob of the store as its bytes: verified when they came, and by `check`, not here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from orlop.kit.database import Database
from orlop.store.errors import BlobUnknown, explained
from orlop.store.layout import Layout


class BlobFile:
    """`size` bytes from `offset` of the open file `fileno()`; `readinto` goes through them in order.

    For one thread. `seek` chooses where the next `readinto` begins, counted from the blob's beginning.
    """

    def __init__(self, file: int, offset: int, size: int) -> None:
        self._file = file
        self.offset = offset
        self.size = size
        self._position = 0

    def fileno(self) -> int:
        return self._file

    def seek(self, position: int) -> None:
        self._position = max(0, min(position, self.size))

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """0 at the end; a file that is too short ends early."""
        view = memoryview(buffer)[: self.size - self._position]
        count = os.preadv(self._file, [view], self.offset + self._position) if view else 0
        self._position += count
        return count


def blob_size(database: Database, digest: str) -> int | None:
    """Bytes; None where it is not in the store, whole."""
    rows = database.query("SELECT size FROM blobs WHERE digest = ? AND added >= 0", (digest,))
    return int(rows[0]["size"]) if rows else None


@contextlib.contextmanager
def opened(layout: Layout, database: Database, digest: str) -> Iterator[BlobFile]:
    """The blob, open for the `with` block, whatever is removed meanwhile. Raises BlobUnknown."""
    file, offset, size = _open(layout, database, digest)
    try:
        yield BlobFile(file, offset, size)
    finally:
        os.close(file)


@contextlib.contextmanager
def opened_archive(layout: Layout, database: Database, diff_id: str) -> Iterator[BlobFile]:
    """As `opened`, for the archive within a layer's image, which nobody asked to be kept as a blob."""
    from orlop.store.erofs.tar_within import TAR_OFFSET, tar_size

    query = "SELECT name FROM diffs WHERE diff_id = ? AND form = 'erofs' AND broken = 0"
    rows = database.query(query, (diff_id,))
    if not rows:
        raise _unknown(diff_id)
    try:
        file = os.open(layout.image_file(rows[0]["name"]), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _unknown(diff_id) from None
    try:
        yield BlobFile(file, TAR_OFFSET, tar_size(file))
    finally:
        os.close(file)


@explained
def _open(layout: Layout, database: Database, digest: str) -> tuple[int, int, int]:
    rows = database.query("SELECT size, layer FROM blobs WHERE digest = ?", (digest,))
    if rows:
        offset = 0
        try:
            if layer := rows[0]["layer"]:
                from orlop.store.erofs.tar_within import tar_offset

                path = layout.image_file(layer)
                offset = tar_offset(path)
            else:
                path = layout.blob(digest)
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), offset, int(rows[0]["size"])
        except FileNotFoundError:
            pass  # removed while we looked, or lost: `check` tells which
    raise _unknown(digest)


def _unknown(digest: str) -> BlobUnknown:
    return BlobUnknown(f"blob {digest}", "is not in the store", hint="pull or push its image again")
