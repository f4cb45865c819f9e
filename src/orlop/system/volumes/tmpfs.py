"""Folders in memory."""

from __future__ import annotations

import os

from orlop.kit import kernel
from orlop.kit.files import make_folder


def mount_tmpfs(path: str, *, size: int = 0) -> bool:
    """A tmpfs is mounted at `path` afterwards; returns whether it was not before.

    `size` in bytes (0: half of the machine's memory). Programs in it may run: scripts come from ConfigMaps.
    """
    make_folder(path)
    if os.path.ismount(path):
        return False
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", path, "tmpfs", flags, f"mode=0700{f',size={size}' if size else ''}")
    return True


def unmount_below(path: str) -> None:
    """Nothing is mounted at `path` or below it afterwards, the innermost first."""
    for mounted in sorted(_mounts_below(os.path.realpath(path)), key=len, reverse=True):
        kernel.umount(mounted)


def _mounts_below(path: str) -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        points = [_unescaped(line.split(" ", 5)[4]) for line in stream]
    return [point for point in points if point == path or point.startswith(path + "/")]


def _unescaped(text: str) -> str:
    r"""mountinfo writes blanks and backslashes as \040 and the like."""
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, letter)
    return text
