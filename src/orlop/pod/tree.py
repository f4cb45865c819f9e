"""Copying a tree from one folder to another by descriptors: no link is ever followed, on either side.

So a tree that a container changes meanwhile (a folder becomes a link) leads nowhere else
(the classes of CVE-2018-15664 and CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import os
import stat

from orlop.kit import limits
from orlop.kit.errors import Conflict, LimitExceeded

_CHUNK = 1024 * 1024
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Copying:
    """One copy: `owners` keeps user and group, else everything becomes `owner`'s (uid, gid)."""

    def __init__(self, *, owners: bool, owner: tuple[int, int] = (0, 0)) -> None:
        self._owners = owners
        self._owner = owner
        self._entries = 0
        self.skipped: list[str] = []  # devices and sockets, which are nobody's to copy

    def entry(self, source: int, name: str, target: int, new: str, depth: int = 0) -> None:
        """Copy `name` in the open folder `source` as `new` into the open folder `target`.

        Files there are replaced, folders merged. Raises Conflict where a folder would replace a file or the
        other way round, LimitExceeded beyond limits.COPY_ENTRIES or limits.PATH_DEPTH.
        """
        self._entries += 1
        if self._entries > limits.COPY_ENTRIES or depth > limits.PATH_DEPTH:
            raise LimitExceeded(name, "too many or too deep files for one copy", hint="copy a part of it")
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFDIR:
            self._folder(source, name, target, new, depth)
        elif kind == stat.S_IFREG:
            self._file(source, name, target, new)
        elif kind == stat.S_IFLNK:
            clear(target, new)
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
            self._own(target, new, found)
        elif kind == stat.S_IFIFO:
            clear(target, new)
            os.mkfifo(new, stat.S_IMODE(found.st_mode), dir_fd=target)
            self._own(target, new, found)
        else:
            self.skipped.append(name)

    def content(self, source: int, target: int, depth: int = 0) -> None:
        """Copy everything in the open folder `source` into the open folder `target`."""
        for name in os.listdir(source):
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                self.entry(source, name, target, name, depth + 1)

    def _folder(self, source: int, name: str, target: int, new: str, depth: int) -> None:
        below = os.open(name, _LIST, dir_fd=source)
        try:
            status = os.fstat(below)
            into = made_folder(target, new)
            try:
                self.content(below, into, depth)
                self._finish(into, status)
            finally:
                os.close(into)
        finally:
            os.close(below)

    def _file(self, source: int, name: str, target: int, new: str) -> None:
        reading = os.open(name, _READ, dir_fd=source)
        try:
            status = os.fstat(reading)
            if not stat.S_ISREG(status.st_mode):  # swapped between the look and the open
                self.skipped.append(name)
                return
            clear(target, new)
            writing = os.open(new, _MAKE, 0o600, dir_fd=target)
            try:
                pump(reading, writing)
                self._finish(writing, status)
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _finish(self, descriptor: int, status: os.stat_result) -> None:
        owner = (status.st_uid, status.st_gid) if self._owners else self._owner
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
        os.utime(descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _own(self, folder: int, name: str, status: os.stat_result) -> None:
        owner = (status.st_uid, status.st_gid) if self._owners else self._owner
        os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)


def pump(reading: int, writing: int) -> None:
    """All bytes from one descriptor to the other."""
    while data := os.read(reading, _CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(writing, view) :]


def made_folder(parent: int, name: str) -> int:
    """A descriptor of the folder `name`, made if absent. Raises Conflict where something else is there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    try:
        return os.open(name, _LIST, dir_fd=parent)
    except OSError as error:
        raise Conflict(name, "is there and is not a folder", hint="choose another destination") from error


def clear(folder: int, name: str) -> None:
    """Remove what is not a folder. Raises Conflict where a folder is in the way."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError) as error:
        raise Conflict(name, "is a folder at the destination", hint="choose another destination") from error
