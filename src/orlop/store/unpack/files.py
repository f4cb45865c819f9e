"""Entries become files below a folder: the form of a layer that every kernel can stack."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from zlib import crc32 as _zlib_crc32

from orlop.store.unpack import tar
from orlop.store.unpack.listing import Listing, Record
from orlop.store.unpack.tree import Path, Tree
from orlop.store.unpack.writer import OPAQUE_XATTR, ORIGIN_XATTR, is_overlays_own, when

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    _crc32 = _zlib_crc32

_DEFAULT_ACL = "system.posix_acl_default"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class FileWriter:
    """A `writer.Writer` below `root`; folders are descriptors.

    `on_written(file, before, count)` is told of the bytes written to a file; `check` compares `listing`.
    """

    def __init__(self, root: str, subject: str, on_written: Callable[[int, int, int], None]) -> None:
        self._on_written = on_written
        self._tree = Tree(root, subject, self._implied)
        self._times: dict[Path, int] = {}
        self._giving: set[Path] = set()  # folders that give what is made in them a group or an ACL
        self._never_given = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | _umask()  # bits open(2) leaves out
        self.whited: set[Path] = set()
        self.listing = Listing()
        os.fchmod(self._tree.root, 0o755)
        self.listing.add((), Record.of(os.fstat(self._tree.root)))
        if _gives(os.fstat(self._tree.root).st_mode, os.listxattr(self._tree.root)):
            self._giving.add(())

    @property
    def count(self) -> int:
        return len(self.listing)

    def close(self) -> None:
        self._tree.close()

    def finish(self) -> None:
        """The times of folders, which writing into them has changed."""
        for path, time in self._times.items():
            folder = self._tree.open_folder(path)
            try:
                os.utime(folder, ns=(time, time))
            finally:
                os.close(folder)

    def parent(self, path: Path) -> tuple[int, Path]:
        return self._tree.parent(path)

    def found(self, path: Path) -> tuple[int, int] | None:
        record = self.listing.get(path)
        return None if record is None else (record.mode, record.device)

    def _implied(self, folder: int, path: Path) -> None:
        """A folder came to be only because something lies in it."""
        if path in self.whited:
            os.setxattr(folder, OPAQUE_XATTR, b"y")
        if path[:-1] in self._giving:
            self._giving.add(path)
        self._times[path] = 0  # nobody gave it one: the same for everybody
        self.listing.add(path, Record.of(os.fstat(folder), self._marks(path)))

    def _marks(self, path: Path) -> tuple[tuple[str, bytes], ...]:
        return ((OPAQUE_XATTR, b"y"),) if path in self.whited else ()

    def _clear(self, parent: int, path: Path, *, keep_folder: bool = False) -> bool:
        """Make room for a new leaf; returns whether a folder is there and stays."""
        try:
            mode = os.stat(path[-1], dir_fd=parent, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        is_folder = stat.S_ISDIR(mode)
        if is_folder and keep_folder:
            return True
        self._tree.remove(parent, path[-1], is_folder=is_folder)
        self.listing.remove(path, with_below=is_folder)
        if is_folder:
            length = len(path)
            self._times = {key: time for key, time in self._times.items() if key[:length] != path}
        return False

    def _retrying(self, make: Callable[[], None], parent: int, path: Path) -> None:
        try:
            make()
        except FileExistsError:
            self._clear(parent, path)
            make()

    # -- files -----------------------------------------------------------------------------------------

    def file(self, entry: tar.Entry, archive: tar.Archive, folder: int, path: Path) -> None:
        name = path[-1]
        given = path[:-1] in self._giving
        as_wanted = not given and not entry.mode & self._never_given
        mode = entry.mode if as_wanted else 0o600
        try:
            file = os.open(name, _NEW_FILE, mode, dir_fd=folder)
        except FileExistsError:
            self._clear(folder, path)
            file = os.open(name, _NEW_FILE, mode, dir_fd=folder)
        try:
            checksum = None
            if entry.sparse is None:
                checksum = self._content(archive, file)
            else:
                self._sparse(entry, archive, file)
            # Most files are root's with mode 644 or 755, as they come to be: two system calls less for each.
            if entry.uid or entry.gid or given:
                os.fchown(file, entry.uid, entry.gid)
            if not as_wanted:
                os.fchmod(file, entry.mode)  # after chown(2), which takes setuid away
            xattrs = self._xattrs(file, entry) if entry.xattrs else ()
            time = when(entry)
            os.utime(file, ns=(time, time))
        finally:
            os.close(file)
        self.listing.add(
            path, Record(stat.S_IFREG | entry.mode, entry.uid, entry.gid, entry.size, time, xattrs, checksum)
        )

    def _content(self, archive: tar.Archive, file: int) -> int:
        checksum = written = 0
        for view in archive.data():
            checksum = _crc32(view, checksum)
            written = self._write(file, view, written)
        return checksum

    def _sparse(self, entry: tar.Entry, archive: tar.Archive, file: int) -> None:
        """Only what is stored is written; the rest stay holes. No checksum: holes of any size are free."""
        assert entry.sparse is not None
        stored = archive.data()
        view = memoryview(b"")
        for offset, length in entry.sparse:
            os.lseek(file, offset, os.SEEK_SET)
            done = 0
            while done < length:
                view = view or next(stored)
                part = view[: length - done]
                view = view[len(part) :]
                done += self._write(file, part, 0)
        os.ftruncate(file, entry.size)

    def _write(self, file: int, view: memoryview, before: int) -> int:
        at = 0
        while at < len(view):
            count = os.write(file, view[at:] if at else view)
            self._on_written(file, before + at, count)
            at += count
        return before + at

    # -- folders ---------------------------------------------------------------------------------------

    def folder(self, entry: tar.Entry, folder: int, path: Path) -> None:
        name = path[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=folder)
        except FileExistsError:
            if not self._clear(folder, path, keep_folder=True):
                os.mkdir(name, 0o700, dir_fd=folder)
        made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            self._dress_folder(made, entry, path)
        finally:
            os.close(made)

    def root(self, entry: tar.Entry) -> None:
        self._dress_folder(self._tree.root, entry, ())

    def _dress_folder(self, folder: int, entry: tar.Entry, path: Path) -> None:
        os.fchown(folder, entry.uid, entry.gid)
        os.fchmod(folder, entry.mode)
        xattrs = self._xattrs(folder, entry) if entry.xattrs else ()
        if (path and path[:-1] in self._giving) or _gives(entry.mode, [name for name, _ in xattrs]):
            self._giving.add(path)
        if path in self.whited:
            os.setxattr(folder, OPAQUE_XATTR, b"y")
            xattrs = (*xattrs, *self._marks(path))
        self._times[path] = when(entry)
        known = self.listing.get(path)
        if known is not None and known.xattrs:  # an archive may name a folder twice: its attributes add up
            xattrs = tuple({**dict(known.xattrs), **dict(xattrs)}.items())
        self.listing.add(path, Record(stat.S_IFDIR | entry.mode, entry.uid, entry.gid, 0, 0, xattrs))

    # -- links and nodes -------------------------------------------------------------------------------

    def symlink(self, entry: tar.Entry, folder: int, path: Path) -> None:
        name, target = path[-1], entry.link
        self._retrying(lambda: os.symlink(target, name, dir_fd=folder), folder, path)
        self._dress_node(entry, folder, path, stat.S_IFLNK | 0o777, target=target)

    def hard_link(self, wanted: Path, folder: int, path: Path) -> bool:
        source, above = self._tree.parent(wanted[:-1])
        target = (*above, wanted[-1])
        record = self.listing.get(target)
        if record is None or stat.S_ISDIR(record.mode):
            return False
        if target == path:
            return True
        try:
            os.link(target[-1], path[-1], src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            self._clear(folder, path)
            source, _above = self._tree.parent(wanted[:-1])
            os.link(target[-1], path[-1], src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        self.listing.add(path, record)
        return True

    def device(self, entry: tar.Entry, kind: int, folder: int, path: Path) -> None:
        name = path[-1]
        device = os.makedev(entry.major, entry.minor) if kind != stat.S_IFIFO else 0
        self._retrying(lambda: os.mknod(name, kind | 0o600, device, dir_fd=folder), folder, path)
        self._dress_node(entry, folder, path, kind | entry.mode, device=device)

    def _dress_node(
        self, entry: tar.Entry, parent: int, path: Path, mode: int, *, target: bytes = b"", device: int = 0
    ) -> None:
        """Owner, mode, attributes and time of what cannot be opened: by name, never followed."""
        name = path[-1]
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if not target:
            os.chmod(name, entry.mode, dir_fd=parent)  # a node made just now: no link to follow
        where = os.fsencode(f"/proc/self/fd/{parent}/") + name
        xattrs = self._xattrs(where, entry) if entry.xattrs else ()
        time = when(entry)
        os.utime(name, ns=(time, time), dir_fd=parent, follow_symlinks=False)
        self.listing.add(path, Record(mode, entry.uid, entry.gid, 0, time, xattrs, None, target, device))

    def _xattrs(self, where: int | bytes, entry: tar.Entry) -> tuple[tuple[str, bytes], ...]:
        """Set what the archive gives; after chown(2), which takes file capabilities away."""
        assert entry.xattrs is not None
        kept = []
        for name, value in sorted(entry.xattrs.items()):
            if is_overlays_own(name):
                continue
            try:
                if isinstance(where, int):
                    os.setxattr(where, name, value)
                else:
                    os.setxattr(where, name, value, follow_symlinks=False)
            except OSError as error:
                # A file system without the attribute's class, or a class that this kind of file cannot bear:
                # left out, as the field does. Capabilities are never left out.
                left_out = error.errno in (errno.ENOTSUP, errno.EPERM, errno.EACCES)
                if not left_out or name == "security.capability":
                    raise
                continue
            kept.append((name, value))
        return tuple(kept)

    # -- overlayfs' marks ------------------------------------------------------------------------------

    def whiteout(self, folder: int, path: Path) -> None:
        os.mknod(path[-1], stat.S_IFCHR, 0, dir_fd=folder)
        self.listing.add(path, Record(stat.S_IFCHR, 0, 0, 0, 0))
        self._has_whiteouts(folder, path[:-1])

    def _has_whiteouts(self, folder: int, path: Path) -> None:
        """Overlayfs looks for whiteouts where folders of several layers meet, and where it sees this mark.

        Without it, one in a folder that is opaque or new would be listed as a name that opens nothing.
        """
        record = self.listing.get(path) if path else None  # at the root all layers meet
        if record is None or any(name == ORIGIN_XATTR for name, _ in record.xattrs):
            return
        os.setxattr(folder, ORIGIN_XATTR, b"")
        self.listing.add(path, record.with_xattr(ORIGIN_XATTR, b""))

    def opaque(self, folder: int, path: Path) -> None:
        os.setxattr(folder, OPAQUE_XATTR, b"y")
        record = self.listing.get(path)
        assert record is not None
        self.listing.add(path, record.with_xattr(OPAQUE_XATTR, b"y"))


def _gives(mode: int, xattrs: list[str]) -> bool:
    """Whether a folder gives what is made in it its group (setgid) or an ACL, whatever open(2) asks for."""
    return bool(mode & stat.S_ISGID) or _DEFAULT_ACL in xattrs


def _umask() -> int:
    """This process's umask, read without changing it for the other threads."""
    with open("/proc/self/status", "rb") as stream:
        for line in stream:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o777
