"""A folder whose files change all at once, in the layout that Kubernetes' programs know.

    ..<random>/key     the files
    ..data             -> ..<random>: one rename exchanges all files
    key                -> ..data/key

Follows: kubernetes, pkg/volume/util/atomic_writer.go. Only root writes here (a pod mounts it read-only), so
names in it are trusted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from orlop.kit.files import make_folder, remove_tree, unique
from orlop.system.volumes.payload import File

_DATA, _NEXT = "..data", "..data_tmp"
_GROUP_READS = 0o440
_FOLDER = 0o755


def write_folder(path: str, files: Mapping[str, File], *, group: int | None = None) -> bool:
    """The folder at `path` holds exactly `files` afterwards; returns whether anything changed.

    With `group` (fsGroup) the files are that group's and it may read them.
    """
    os.chmod(path, _FOLDER)
    changed = _current(path) != {each.path: (each.data, _mode(each, group)) for each in files.values()}
    if changed:
        version = f"..{unique()}"
        _write_version(os.path.join(path, version), files, group)
        _point(os.path.join(path, _NEXT), version)
        os.rename(os.path.join(path, _NEXT), os.path.join(path, _DATA))
    _tidy(path, {name.partition("/")[0] for name in files})
    return changed


def _mode(file: File, group: int | None) -> int:
    return file.mode if group is None else file.mode | _GROUP_READS


def _current(path: str) -> dict[str, tuple[bytes, int]] | None:
    """What the folder holds now; None: nothing yet, or a version that is not whole."""
    data = os.path.join(path, _DATA)
    if not os.path.isdir(data):
        return None
    found: dict[str, tuple[bytes, int]] = {}
    for folder, _, names in os.walk(os.path.realpath(data)):
        for name in names:
            file = os.path.join(folder, name)
            with open(file, "rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode & 0o7777
                found[os.path.relpath(file, os.path.realpath(data))] = (stream.read(), mode)
    return found


def _write_version(version: str, files: Mapping[str, File], group: int | None) -> None:
    _make_folder(version, group)
    for file in files.values():
        path = os.path.join(version, file.path)
        missing = os.path.dirname(file.path)
        parts = missing.split("/") if missing else []
        for depth in range(len(parts)):
            _make_folder(os.path.join(version, *parts[: depth + 1]), group)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(file.data)
            if group is not None:
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, _mode(file, group))


def _make_folder(path: str, group: int | None) -> None:
    if os.path.isdir(path):
        return
    make_folder(path)
    if group is not None:
        os.chown(path, -1, group)
    os.chmod(path, _FOLDER if group is None else 0o2000 | _FOLDER)


def _point(path: str, target: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    os.symlink(target, path)


def _tidy(path: str, names: set[str]) -> None:
    """Links for `names`, none for others, no older version."""
    current = os.readlink(os.path.join(path, _DATA))
    for name in names:
        link = os.path.join(path, name)
        if not os.path.islink(link):
            _point(link, f"{_DATA}/{name}")
    for name in os.listdir(path):
        if name.startswith("..") and name not in (_DATA, current):
            remove_tree(os.path.join(path, name))
        elif not name.startswith("..") and name not in names:
            os.unlink(os.path.join(path, name))
