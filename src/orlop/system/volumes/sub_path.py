"""subPath: a folder below a volume, made where it is missing, never outside (CVE-2017-1002101's class)."""

from __future__ import annotations

import contextlib
import os
import stat

from orlop.kit.errors import Corrupt, InvalidInput
from orlop.kit.files import folder, open_in_root


def make_sub_path(volume: str, sub_path: str, *, group: int | None = None) -> None:
    """`sub_path` exists below `volume` afterwards: as what it was, else as a folder like the volume's own.

    Raises InvalidInput where it leads through something that is no folder, or out of the volume.
    """
    parts = [part for part in sub_path.split("/") if part not in ("", ".")]
    if ".." in parts or not os.path.isdir(volume):
        raise InvalidInput(sub_path, "does not stay below its volume", hint="name a path inside the volume")
    with folder(os.path.realpath(volume)) as root:
        parent = os.dup(root)
        try:
            for depth in range(len(parts)):
                last = depth == len(parts) - 1
                child = _entered(root, parent, parts[: depth + 1], group, last=last)
                os.close(parent)
                parent = child
        except (NotADirectoryError, Corrupt) as error:
            raise InvalidInput(
                sub_path, "leads through something that is no folder of the volume", hint="see what is there"
            ) from error
        finally:
            os.close(parent)


def _entered(root: int, parent: int, parts: list[str], group: int | None, *, last: bool) -> int:
    path, flags = "/".join(parts), os.O_PATH | (0 if last else os.O_DIRECTORY)
    try:
        return open_in_root(root, path, flags)
    except FileNotFoundError:
        return _made(parent, parts[-1], group, mode=stat.S_IMODE(os.fstat(root).st_mode))


def _made(parent: int, name: str, group: int | None, *, mode: int) -> int:
    """A new folder in `parent`. A dangling link of that name is refused, not followed."""
    with contextlib.suppress(FileExistsError):  # of another pod, or a link that is refused below
        os.mkdir(name, 0o700, dir_fd=parent)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    if group is not None:
        os.fchown(descriptor, -1, group)
    os.fchmod(descriptor, mode)
    return descriptor
