"""Writing files below a root: new leaves only, by descriptors of folders that were resolved inside it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from orlop.build.add.mode import Mode
from orlop.build.add.owner import Owner
from orlop.build.context import inside
from orlop.build.context.inside import Parts
from orlop.build.context.tree import Node
from orlop.kit import limits
from orlop.kit.errors import InvalidInput

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 * limits.MIB
_RANGE = 64 * limits.MIB
_NO_RANGE = (
    errno.EXDEV,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EBADF,
    errno.EPERM,
    errno.ETXTBSY,
)
_NOT_COPIED = ("trusted.overlay.", "user.overlay.", "security.selinux")
_FROM_CONTEXT = ("user.", "security.capability")
_WHITEOUT = ".wh."
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Dress:
    """How what is copied looks. `owner`: of --chown; `keeps_owner`: else the source's, not root's. `newest`:
    no time is later than this one (nanoseconds)."""

    owner: Owner | None = None
    mode: Mode | None = None
    keeps_owner: bool = False
    newest: int | None = None

    def owner_of(self, status: os.stat_result) -> Owner:
        if self.owner is not None:
            return self.owner
        return (status.st_uid, status.st_gid) if self.keeps_owner else (0, 0)

    def mode_of(self, status: os.stat_result) -> int:
        bits = stat.S_IMODE(status.st_mode)
        return self.mode.of(bits, is_folder=stat.S_ISDIR(status.st_mode)) if self.mode else bits

    def time_of(self, when: int) -> int:
        return when if self.newest is None else min(when, self.newest)


class Root:
    """The root file system that is written to. Close it."""

    def __init__(self, path: str, newest: int | None, tick: Callable[[], None]) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._newest = newest
        self._tick = tick
        self._touched: set[Parts] = set()
        self._folders: dict[Parts, tuple[os.stat_result, Dress]] = {}
        self._linked: dict[tuple[int, int], Parts] = {}  # files with several names, and where they went first
        self._first: dict[Parts, tuple[int, int]] = {}  # the same the other way round
        self._last: tuple[Parts, int] | None = None
        self.written = 0

    def close(self) -> None:
        self._forget()
        os.close(self.descriptor)

    def resolve(self, path: str, dress: Dress | None) -> Parts:
        """The real path; with a `dress`, folders that lack are made (0755, --chown's or root's)."""

        def make(folder: int, name: str) -> None:
            assert dress is not None
            _refuse_whiteout(name)
            os.mkdir(name, 0o755, dir_fd=folder)
            made = os.open(name, inside.FOLDER | os.O_CLOEXEC, dir_fd=folder)
            try:
                os.fchown(made, *(dress.owner or (0, 0)))
                os.fchmod(made, 0o755)
            finally:
                os.close(made)
            fresh.append(name)

        fresh: list[str] = []
        real = inside.resolve(self.descriptor, path, "the image", make=make if dress else None)
        for count in range(len(fresh)):
            self._touched.add(real[: len(real) - count])
            self._touched.add(real[: len(real) - count - 1])
        return real

    def is_folder(self, path: str) -> bool:
        try:
            found = inside.status(self.descriptor, self.resolve(path, None))
        except inside.Missing:
            return False
        return found is not None and stat.S_ISDIR(found.st_mode)

    def folder(self, node: Node, parent: Parts, name: str, dress: Dress) -> Parts:
        """The folder for `node`, new or there already (also behind a link within): its real path."""
        _refuse_whiteout(name)
        folder = self._open(parent)
        real = (*parent, name)
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
            self._touched.add(parent)
        except FileExistsError:
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                real = self._behind(real)
            elif not stat.S_ISDIR(mode):
                raise _in_the_way(real, "is a file, where a folder is to go") from None
        self._folders[real] = (node.status, dress)
        made = inside.open_real(self.descriptor, real)
        try:
            _dress_folder(made, node.status, dress)
            source = os.open(node.name, inside.FOLDER | os.O_CLOEXEC, dir_fd=node.folder)
            try:
                _copy_xattrs(source, made, dress)
            finally:
                os.close(source)
        finally:
            os.close(made)
        return real

    def leaf(self, node: Node, parent: Parts, name: str, dress: Dress) -> None:
        """A file, link or device in place of what is there (no folder)."""
        mode = node.status.st_mode
        if stat.S_ISSOCK(mode):
            return
        folder = self._room(parent, name)
        real = (*parent, name)
        if node.status.st_nlink > 1:
            key = (node.status.st_dev, node.status.st_ino)
            if self._link(self._linked.get(key), folder, name):
                return
            self._linked[key] = real
            self._first[real] = key
        if stat.S_ISREG(mode):
            self._file(node, folder, name, dress)
        elif stat.S_ISLNK(mode):
            os.symlink(os.readlink(node.name, dir_fd=node.folder), name, dir_fd=folder)
            self._dress_node(node.status, folder, name, dress, is_link=True)
        elif stat.S_ISFIFO(mode) or dress.keeps_owner:
            os.mknod(name, stat.S_IFMT(mode) | 0o600, node.status.st_rdev, dir_fd=folder)
            self._dress_node(node.status, folder, name, dress, is_link=False)
        else:
            raise InvalidInput(
                "/".join(node.parts) or node.name,
                "is a device",
                hint="leave it out with .containerignore; make devices when the container runs",
            )

    def text(
        self, data: bytes, parent: Parts, name: str, dress: Dress, *, when: int, mode: int = 0o644
    ) -> None:
        """A file with these bytes."""
        folder = self._room(parent, name)
        file = os.open(name, _NEW, 0o600, dir_fd=folder)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            self.written += len(data)
            os.fchown(file, *(dress.owner or (0, 0)))
            os.fchmod(file, dress.mode.of(mode, is_folder=False) if dress.mode else mode)
            os.utime(file, ns=(dress.time_of(when),) * 2)
        finally:
            os.close(file)

    def forget_links(self) -> None:
        """What comes from now on has nothing to do with what came: inode numbers may come again."""
        self._linked.clear()
        self._first.clear()

    def finish(self) -> None:
        """Times of folders, which writing into them has changed."""
        self._forget()
        for real, (status, dress) in sorted(self._folders.items(), reverse=True):
            self._set_time(real, dress.time_of(status.st_mtime_ns))
        if self._newest is not None:
            for real in self._touched - self._folders.keys():
                found = inside.status(self.descriptor, real)
                if found is not None and found.st_mtime_ns > self._newest:
                    self._set_time(real, self._newest)

    # -- parts of it -----------------------------------------------------------------------------------

    def _set_time(self, real: Parts, when: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            folder = inside.open_real(self.descriptor, real)
            try:
                os.utime(folder, ns=(when, when))
            finally:
                os.close(folder)

    def _open(self, real: Parts) -> int:
        """The folder's descriptor, ours until the next call: neighbours share it."""
        if self._last is None or self._last[0] != real:
            self._forget()
            self._last = real, inside.open_real(self.descriptor, real)
        return self._last[1]

    def _forget(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def _behind(self, real: Parts) -> Parts:
        try:
            followed = inside.resolve(self.descriptor, "/".join(real), "the image")
        except inside.Missing:
            followed = None
        found = inside.status(self.descriptor, followed) if followed is not None else None
        if followed is None or found is None or not stat.S_ISDIR(found.st_mode):
            raise _in_the_way(real, "is a link to no folder, where a folder is to go")
        return followed

    def _room(self, parent: Parts, name: str) -> int:
        _refuse_whiteout(name)
        self._tick()
        folder = self._open(parent)
        self._touched.add(parent)
        replaced = self._first.pop((*parent, name), None)
        if replaced is not None:
            del self._linked[replaced]
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            raise _in_the_way((*parent, name), "is a folder, where a file is to go") from None
        return folder

    def _link(self, first: Parts | None, folder: int, name: str) -> bool:
        """A hard link to what was copied before, as it was in the source."""
        if first is None:
            return False
        try:
            with inside.parent(self.descriptor, first) as source:
                os.link(first[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.EMLINK, errno.EXDEV, errno.ENOENT, errno.EPERM):
                return False
            raise
        return True

    def _file(self, node: Node, folder: int, name: str, dress: Dress) -> None:
        reading = os.open(node.name, _READ, dir_fd=node.folder)
        try:
            status = os.fstat(reading)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInput(node.name, "changes while it is copied", hint="build again")
            file = os.open(name, _NEW, 0o600, dir_fd=folder)
            try:
                self.written += pump(reading, file, status, self._tick)
                os.fchown(file, *dress.owner_of(status))
                os.fchmod(file, dress.mode_of(status))
                _copy_xattrs(reading, file, dress)
                os.utime(file, ns=(dress.time_of(status.st_mtime_ns),) * 2)
            finally:
                os.close(file)
        finally:
            os.close(reading)

    def _dress_node(
        self, status: os.stat_result, folder: int, name: str, dress: Dress, *, is_link: bool
    ) -> None:
        os.chown(name, *dress.owner_of(status), dir_fd=folder, follow_symlinks=False)
        if not is_link:
            os.chmod(name, dress.mode_of(status), dir_fd=folder)  # made just now: no link to follow
        when = dress.time_of(status.st_mtime_ns)
        os.utime(name, ns=(when, when), dir_fd=folder, follow_symlinks=False)


def pump(reading: int, writing: int, status: os.stat_result, tick: Callable[[], None]) -> int:
    """A file's bytes, holes staying holes; returns how many were written."""
    size, at, done = status.st_size, 0, 0
    by_range = True
    while at < size:
        start, end = at, size
        if status.st_blocks * 512 < size:
            try:
                start = os.lseek(reading, at, os.SEEK_DATA)
                end = min(size, os.lseek(reading, start, os.SEEK_HOLE))
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole to its end
                    break
                start, end = at, size
        while start < end:
            tick()
            count = 0
            if by_range:
                try:
                    count = os.copy_file_range(reading, writing, min(end - start, _RANGE), start, start)
                except OSError as error:
                    if error.errno not in _NO_RANGE:
                        raise
                by_range = count > 0
            if not by_range:
                data = os.pread(reading, min(end - start, _PIECE), start)
                count = os.pwrite(writing, data, start) if data else 0
            if not count:  # it became shorter meanwhile
                return done
            start += count
            done += count
        at = end
    os.ftruncate(writing, size)
    return done


def _dress_folder(folder: int, status: os.stat_result, dress: Dress) -> None:
    os.fchown(folder, *dress.owner_of(status))
    os.fchmod(folder, dress.mode_of(status))


def _copy_xattrs(source: int, target: int, dress: Dress) -> None:
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        if name.startswith(_NOT_COPIED) or not (dress.keeps_owner or name.startswith(_FROM_CONTEXT)):
            continue
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except (
            OSError
        ) as error:  # a class that this file system does not bear; capabilities are never left out
            if (
                error.errno not in (errno.ENOTSUP, errno.EPERM, errno.ENODATA)
                or name == "security.capability"
            ):
                raise


def _refuse_whiteout(name: str) -> None:
    if name.startswith(_WHITEOUT):
        raise InvalidInput(
            name[:200],
            "has a name that would take files away in a layer",
            hint="rename it, or leave it out with .containerignore",
        )


def _in_the_way(real: Parts, cause: str) -> InvalidInput:
    return InvalidInput(f"/{'/'.join(real)} in the image", cause, hint="choose another destination")
