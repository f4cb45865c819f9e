"""Blobs that nothing names any more, and what interrupted work left of others."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from orlop.kit import limits
from orlop.kit.database import Database
from orlop.store import leases
from orlop.store.layout import Layout

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3

#: Digests that must stay: what images and repositories name.
USED = "SELECT digest FROM image_blobs UNION SELECT digest FROM repository_blobs"


def forget_unused(rows: sqlite3.Connection, before: float, *, age: float = 0.0) -> list[str]:
    """Take the rows of unused blobs away that came before that time, and `age` seconds ago or earlier.

    Returns their digests. `rows` is an open transaction; the caller then calls `remove_files`.
    """
    gone = [
        row[0]
        for row in rows.execute(
            f"SELECT digest FROM blobs WHERE digest NOT IN ({USED}) AND added <= ?",  # noqa: S608
            (min(before, time.time() - age),),
        )
    ]
    rows.executemany("DELETE FROM blobs WHERE digest = ?", [(digest,) for digest in gone])
    return gone


def remove_files(layout: Layout, database: Database, digests: list[str]) -> int:
    """The files of blobs that are forgotten; returns the bytes that they had on disk.

    One that came again meanwhile stays: it has a row, or gets it from who looks whether its file is there.
    """
    freed = 0
    for digest in digests:
        with database.transaction(durable=False) as rows:
            if rows.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone() is None:
                freed += remove_file(layout.blob(digest))
    return freed


def remove_file(path: str) -> int:
    """Bytes that it had on disk; 0 where it is absent (a blob within a layer has no file)."""
    with contextlib.suppress(FileNotFoundError):
        freed = os.stat(path, follow_symlinks=False).st_blocks * 512
        os.unlink(path)
        return freed
    return 0


def stray(layout: Layout, database: Database, before: float) -> list[str]:
    """Digests of the files below blobs/ that no row names, and that came before that time."""
    there = dict(_files(layout))
    if there:
        known = {row[0] for row in database.query("SELECT digest FROM blobs WHERE layer = ''")}
        there = {digest: path for digest, path in there.items() if digest not in known}
    return [digest for digest in sorted(there) if leases.is_stray(there[digest], before)]


def old_uploads(layout: Layout) -> list[str]:
    """What clients of our registry began to send and have not touched for limits.UPLOAD_AGE seconds."""
    found = []
    for name in sorted(os.listdir(layout.uploads)) if os.path.isdir(layout.uploads) else ():
        path = f"{layout.uploads}/{name}"
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(path, follow_symlinks=False).st_mtime > limits.UPLOAD_AGE:
                found.append(path)
    return found


def _files(layout: Layout) -> Iterator[tuple[str, str]]:
    for algorithm in os.listdir(layout.blobs) if os.path.isdir(layout.blobs) else ():
        for name in os.listdir(f"{layout.blobs}/{algorithm}"):
            yield f"{algorithm}:{name}", f"{layout.blobs}/{algorithm}/{name}"
