"""Which devices there are: all files of the folders, the later folder outranking the earlier one."""

from __future__ import annotations

import os
import stat
import threading

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, OrlopError
from orlop.kit.value import dataclass
from orlop.runtime.cdi.document import Document, is_device, is_kind, load

_known: dict[str, tuple[int, int, int, Document | str]] = {}  # path -> inode, time, size, what it says
_lock = threading.Lock()


@dataclass(frozen=True)
class Registry:
    """`devices` by qualified name ("vendor/class=device"); `problems` are files and devices left out."""

    devices: dict[str, Document]
    problems: dict[str, str]


def look(folders: tuple[str, ...]) -> Registry:
    """What is there now. A file that is wrong is a problem, not an error: others' devices go on.

    A device that two files of one folder describe is in neither: nobody can say which is meant.
    """
    devices: dict[str, Document] = {}
    problems: dict[str, str] = {}
    for folder in folders:
        here: dict[str, Document] = {}
        for path in _files(folder, problems):
            found = _loaded(path)
            if isinstance(found, str):
                problems[path] = found
                continue
            for name in found.devices:
                qualified = f"{found.kind}={name}"
                if qualified in here:
                    problems[qualified] = f"{here[qualified].path} and {path} both describe it"
                here[qualified] = found
        devices.update(here)
        for name in here:
            if problems.get(name, "").startswith(f"{folder}/"):
                del devices[name]
            else:
                problems.pop(name, None)  # it was a conflict of a folder that ranks lower
    return Registry(devices, problems)


def qualified(name: str) -> tuple[str, str]:
    """Kind and name of "vendor/class=device". Raises InvalidInput."""
    kind, sign, device = name.partition("=")
    if not sign or not is_kind(kind) or not is_device(device):
        raise InvalidInput(f"device {name[:100]!r}", "is no CDI device", hint="write it as vendor/class=name")
    return kind, device


def _files(folder: str, problems: dict[str, str]) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith((".json", ".yaml")))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems[folder] = str(error.strerror)
        return []
    if len(names) > limits.CDI_FILES:
        problems[folder] = f"only the first {limits.CDI_FILES} of its {len(names)} files are read"
    return [os.path.join(folder, name) for name in names[: limits.CDI_FILES]]


def _loaded(path: str) -> Document | str:
    """The file's content or what is wrong with it, read again where the file has changed."""
    try:
        status = os.stat(path)
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        with _lock:
            known = _known.get(path)
        if known is not None and known[:3] == mark:
            return known[3]
        found = _read(path) if stat.S_ISREG(status.st_mode) else "is no regular file"
    except OSError as error:
        return str(error.strerror)
    with _lock:
        if len(_known) > 4 * limits.CDI_FILES:
            _known.clear()
        _known[path] = (*mark, found)
    return found


def _read(path: str) -> Document | str:
    try:
        return load(path)
    except OrlopError as error:
        return str(error)
