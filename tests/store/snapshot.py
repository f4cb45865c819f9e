"""All that a tree says of itself, to be compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable

_SKIPPED = ("trusted.overlay.", "security.selinux")


def snapshot(root: str) -> dict[bytes, tuple[object, ...]]:
    """By path: kind and mode, owner, size, time, device, target, attributes, content, first of its links."""
    found: dict[bytes, tuple[object, ...]] = {}
    firsts: dict[tuple[int, int], bytes] = {}

    def look(path: bytes, name: bytes) -> None:
        status = os.lstat(path)
        key = (status.st_dev, status.st_ino)
        first = (
            firsts.setdefault(key, name) if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode) else b""
        )
        found[name] = (
            oct(status.st_mode),
            (status.st_uid, status.st_gid),
            status.st_size if stat.S_ISREG(status.st_mode) else 0,
            status.st_mtime_ns,
            status.st_rdev,
            os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
            _xattrs(path),
            _content(path) if stat.S_ISREG(status.st_mode) else "",
            first,
        )

    _walk(os.fsencode(root), look)
    return found


def _walk(root: bytes, look: Callable[[bytes, bytes], None]) -> None:
    look(root, b"")
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = folder + b"/" + name
            look(path, path[len(root) + 1 :])


def _xattrs(path: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (name, os.getxattr(path, name, follow_symlinks=False))
        for name in sorted(os.listxattr(path, follow_symlinks=False))
        if not name.startswith(_SKIPPED)
    )


def _content(path: bytes) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def differences(
    found: dict[bytes, tuple[object, ...]], wanted: dict[bytes, tuple[object, ...]]
) -> dict[bytes, list[tuple[object, object]]]:
    """By path, what was found where something else was wanted."""
    answer = {}
    for path in sorted({*found, *wanted}):
        here, there = found.get(path, ("absent",)), wanted.get(path, ("absent",))
        if here != there:
            answer[path] = [pair for pair in zip(here, there, strict=False) if pair[0] != pair[1]]
    return answer
