"""fsGroup: what a volume holds belongs to a group. Follows: kubernetes, pkg/volume/volume_linux.go.

The volume's content is a container's, so nothing in it is trusted: no link is followed, and every change is
made to what a descriptor already holds.
"""

from __future__ import annotations

import os
import stat

_GROUP_WRITES = 0o660
_FOLDERS = 0o2110  # setgid, and the group may enter


def give_to_group(path: str, group: int, *, only_on_mismatch: bool) -> None:
    """All of `path` belongs to `group`, which may read and write it; new files in its folders inherit that.

    `only_on_mismatch`: nothing where the root of it is already so (fsGroupChangePolicy: OnRootMismatch).
    """
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(root)
        wanted = _GROUP_WRITES | _FOLDERS
        if only_on_mismatch and status.st_gid == group and status.st_mode & wanted == wanted:
            return
        for _, folders, files, folder in os.fwalk(".", dir_fd=root, topdown=False):
            for name in (*folders, *files):
                _give(name, folder, group)
        _give(".", root, group)  # last: it is the mark that all the rest is done
    finally:
        os.close(root)


def _give(name: str, folder: int, group: int) -> None:
    try:
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        status = os.fstat(descriptor)
        held = f"/proc/self/fd/{descriptor}"
        if stat.S_ISLNK(status.st_mode):
            os.chown(name, -1, group, dir_fd=folder, follow_symlinks=False)
            return
        extra = _GROUP_WRITES | (_FOLDERS if stat.S_ISDIR(status.st_mode) else 0)
        if status.st_gid != group:
            os.chown(held, -1, group)
        os.chmod(held, stat.S_IMODE(status.st_mode) | extra)
    finally:
        os.close(descriptor)
