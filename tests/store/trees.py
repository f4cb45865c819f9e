"""What a tree looks like from outside: equal for every form in which a layer is kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def seen(root: Path, implied: frozenset[str] = frozenset()) -> dict[str, tuple[object, ...]]:
    """Each name below with all that stat(2), listxattr(2) and reading tell; hard links by their first name.

    Times of `implied` folders, which no archive has given, are left out, and whiteouts' times.
    """
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in [root, *sorted(_below(root))]:
        name = os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")
        status = path.lstat()
        white = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        folder = stat.S_ISDIR(status.st_mode)
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(os.fsencode(path))
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            0 if folder else status.st_size,
            None if white or name in implied else status.st_mtime_ns,
            status.st_rdev if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else 0,
            None if white or folder else (status.st_nlink, first.setdefault(status.st_ino, name)),
            xattrs,
            content,
        )
    return found


def _below(folder: Path) -> list[Path]:
    found = []
    for name in sorted(os.listdir(folder)):
        path = folder / name
        found.append(path)
        if not path.is_symlink() and path.is_dir():
            found += _below(path)
    return found
