"""hostPath volumes. Follows: kubernetes, pkg/volume/hostpath ("checkType")."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from orlop.kit.errors import InvalidInput, NotFound
from orlop.system.kube.volume_model import HostPath

_WHAT: dict[str, tuple[str, Callable[[int], bool]]] = {
    "DirectoryOrCreate": ("a folder", stat.S_ISDIR),
    "Directory": ("a folder", stat.S_ISDIR),
    "FileOrCreate": ("a file", stat.S_ISREG),
    "File": ("a file", stat.S_ISREG),
    "Socket": ("a socket", stat.S_ISSOCK),
    "CharDevice": ("a character device", stat.S_ISCHR),
    "BlockDevice": ("a block device", stat.S_ISBLK),
}


def ensure_host_path(subject: str, volume: HostPath) -> str:
    """The path, which is of the type that is asked for; made where the type says so, or says nothing.

    Raises NotFound where it is absent and not to be made, InvalidInput where it is something else.
    """
    path = os.path.normpath(volume.path)
    if volume.type in ("", "DirectoryOrCreate") and not os.path.lexists(path):
        os.makedirs(path, mode=0o755, exist_ok=True)
    elif volume.type == "FileOrCreate" and not os.path.lexists(path):
        _make_file(subject, path)
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            subject, f"there is no {path} on this machine", hint="make it, or name another"
        ) from error
    if volume.type:
        what, fits = _WHAT[volume.type]
        if not fits(mode):
            raise InvalidInput(
                subject, f"{path} is not {what}", hint=f"it is of type {volume.type} in the file"
            )
    return path


def _make_file(subject: str, path: str) -> None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(subject, f"there is no folder for {path}", hint="make it first") from error
