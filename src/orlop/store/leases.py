"""Who is at work on the store: what they have asked for is nobody's to remove, however long they take.

A lease is a file below state/locks/leases that its owner holds locked; its time is its beginning. Whatever an
owner counts on is marked in the database with the time at which it was asked for (`layers.asked`,
`images.asked`, `blobs.added`), in the transaction that finds it there. Who removes takes only what was asked
for before the oldest living lease began, in one transaction: so neither waits for the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from orlop.kit import files
from orlop.kit.database import Database
from orlop.store.layout import Layout

_TICK = 0.01  # seconds that a file's time may be behind the clock: one of the kernel's, at most


@contextlib.contextmanager
def hold(layout: Layout) -> Iterator[None]:
    """A lease for the `with` block. Never waits; may be entered in one thread and left in another."""
    path, descriptor = _claim(layout.leases)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def oldest(layout: Layout) -> float:
    """When the oldest living lease began, in seconds since the epoch; now, where there is none.

    Ask before the transaction that removes. Leases of the dead are removed.
    """
    began = time.time()
    for name in os.listdir(layout.leases) if os.path.isdir(layout.leases) else ():
        path = f"{layout.leases}/{name}"
        with contextlib.suppress(FileNotFoundError):
            if not _dead(path):
                began = min(began, os.stat(path).st_mtime)
    return began


def is_stray(path: str, before: float) -> bool:
    """Whether what lies at `path` without a row was put there before that time: its owner is gone."""
    try:
        return os.lstat(path).st_ctime < before - _TICK
    except FileNotFoundError:
        return False


def use(database: Database, image_id: str) -> bool:
    """The image, its layers and blobs are asked for now; False where it is not there. Inside a lease."""
    now = time.time()
    with database.transaction(durable=False) as rows:
        if not rows.execute("UPDATE images SET asked = ? WHERE id = ?", (now, image_id)).rowcount:
            return False
        rows.execute(
            "UPDATE layers SET asked = ? WHERE chain_id IN"
            " (SELECT chain_id FROM image_layers WHERE image_id = ?)",
            (now, image_id),
        )
        rows.execute(
            "UPDATE blobs SET added = ? WHERE added >= 0"
            " AND digest IN (SELECT digest FROM image_blobs WHERE image_id = ?)",
            (now, image_id),
        )
    return True


def _claim(folder: str) -> tuple[str, int]:
    while True:
        began = time.time_ns()
        path = f"{folder}/{files.unique()}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            files.make_folder(os.path.dirname(folder))  # closed, as the whole of it is
            files.make_folder(folder)
            continue
        # Somebody may come between open and flock and take it for a dead one's: then make another.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink > 0:
                os.utime(descriptor, ns=(began, began))  # the kernel's own time for it is some ticks old
                return path, descriptor
        os.close(descriptor)


def _dead(path: str) -> bool:
    """Whether nobody holds it: then it is removed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return True
    finally:
        os.close(descriptor)
