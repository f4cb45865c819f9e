"""Paths inside a container's root: resolved by the kernel with the root as `/`, so no link leads out.

(openat2(2), RESOLVE_IN_ROOT; the classes of CVE-2018-15664 and CVE-2019-14271.)
"""

from __future__ import annotations

import errno
import os
import stat

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput

_FOLDER = os.O_PATH | os.O_DIRECTORY


def make_folder(root: str, path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> None:
    """`path` is a folder below `root` afterwards, its parents included; links stay within the root."""
    with files.folder(root) as top:
        os.close(open_folder(top, path, mode, owner))


def open_folder(root: int, path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> int:
    """A descriptor of the folder `path` below the open folder `root`.

    It is made with its parents, the `owner`'s, where absent. Raises InvalidInput where it cannot be.
    """
    if len(os.fsencode(path)) >= limits.PATH_LENGTH or any(
        len(os.fsencode(p)) > 255 for p in path.split("/")
    ):
        raise InvalidInput(f"{path[:80]} ...", "is too long for a path", hint="choose a shorter path")
    try:
        return files.open_in_root(root, path, _FOLDER)
    except FileNotFoundError:
        pass
    except NotADirectoryError as error:
        raise InvalidInput(path, "is not a folder in this container", hint="choose another path") from error
    walked = ""
    for part in [part for part in path.split("/") if part not in ("", ".")]:
        parent = files.open_in_root(root, walked or "/", _FOLDER)
        try:
            _make_in(parent, part, path, mode, owner)
        finally:
            os.close(parent)
        walked += "/" + part
    return files.open_in_root(root, walked or "/", _FOLDER)


def real_path(root: str, path: str) -> str:
    """The path, as the machine names it, of what `path` is below `root`, all links resolved."""
    with files.folder(root) as top:
        descriptor = files.open_in_root(top, path, os.O_PATH)
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)


def _make_in(parent: int, part: str, path: str, mode: int, owner: tuple[int, int]) -> None:
    if part == "..":
        return
    try:
        os.mkdir(part, mode, dir_fd=parent)
        if owner != (0, 0):
            os.chown(part, *owner, dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        found = os.stat(part, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISLNK(found) or stat.S_ISDIR(found):
            return  # a link is judged when the next part is opened through it
        raise InvalidInput(
            path, f"{part} is not a folder in this container", hint="choose another path"
        ) from None
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise InvalidInput(path, str(error.strerror), hint="make room, or choose another path") from error
        raise
