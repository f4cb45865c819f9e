"""What the runtime makes in a root only to mount something there, and which is no part of the layer.

The root is looked at before the runtime has touched it: names that are absent and that a mount needs are
noted, with the folders above them as they were. Afterwards such names are taken out of what was written if
nothing was put there, and folders above that nothing else has changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from orlop.kit import files

#: Where runtimes mount by themselves.
_ALWAYS = ("/proc", "/dev", "/sys", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup")  # noqa: S108


class Mountpoints:
    def __init__(self) -> None:
        self._missing: set[tuple[str, ...]] = set()
        self._above: dict[tuple[str, ...], os.stat_result] = {}

    def look(self, root: str, places: Sequence[str]) -> None:
        """Note what `root` lacks of these places."""
        top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            base = os.readlink(f"/proc/self/fd/{top}")
            for place in (*_ALWAYS, *places):
                self._look(top, base, place)
        finally:
            os.close(top)

    def _look(self, top: int, base: str, place: str) -> None:
        parts = [part for part in place.split("/") if part]
        real: tuple[str, ...] = ()
        for depth in range(1, len(parts) + 1):
            try:
                found = files.open_in_root(top, "/".join(parts[:depth]), os.O_PATH)
            except OSError:
                for end in range(depth, len(parts) + 1):
                    self._missing.add((*real, *parts[depth - 1 : end]))
                return
            try:
                path = os.readlink(f"/proc/self/fd/{found}")
                real = tuple(part for part in path[len(base) :].split("/") if part)
                self._above.setdefault(real, os.fstat(found))
            finally:
                os.close(found)

    def clean(self, upper: str) -> None:
        """Take out of the folder `upper` what was made for mounts alone."""
        parents = set()
        for parts in sorted(self._missing, key=len, reverse=True):
            path = "/".join((upper, *parts))
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if stat.S_ISDIR(status.st_mode):
                    os.rmdir(path)
                elif stat.S_ISREG(status.st_mode) and not status.st_size and status.st_nlink == 1:
                    os.unlink(path)
                parents.add(parts[:-1])
        for parts in parents - self._missing:
            self._forget_folder(upper, parts)

    def _forget_folder(self, upper: str, parts: tuple[str, ...]) -> None:
        """A folder that was copied up for a name in it, and is as it was."""
        while parts:
            before = self._above.get(parts)
            path = "/".join((upper, *parts))
            try:
                now = os.lstat(path)
                if before is None or not stat.S_ISDIR(now.st_mode) or _owner(before) != _owner(now):
                    return
                if "trusted.overlay.opaque" in os.listxattr(path):
                    return
                os.rmdir(path)
            except OSError:
                return
            parts = parts[:-1]


def _owner(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode, status.st_uid, status.st_gid
