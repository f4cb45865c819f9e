"""Room kept for removals: a disk that is full to the last block must not keep anybody from emptying it.

The database needs a few blocks to record that something goes. They are kept as a file, made with an image,
and given up by whoever removes while the disk is full.
"""

from __future__ import annotations

import contextlib
import os

from orlop.kit import limits
from orlop.store.layout import Layout

_SIZE = 1 * limits.MIB
_SHORT = 32 * limits.MIB  # free blocks: ext4 keeps up to 16 MiB of them from everybody, and says so nowhere


def keep(layout: Layout) -> None:
    """The room is there afterwards, unless the disk has none."""
    if os.path.exists(layout.reserve):
        return
    try:
        file = os.open(layout.reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, _SIZE)
        finally:
            os.close(file)
    except OSError:
        release(layout)


def release(layout: Layout) -> None:
    """Give the room up, if the disk has no other."""
    with contextlib.suppress(OSError):
        room = os.statvfs(layout.root)
        if room.f_bfree * room.f_frsize < _SHORT:
            os.unlink(layout.reserve)
