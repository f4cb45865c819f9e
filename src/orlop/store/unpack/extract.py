"""What an archive's entries mean in a layer: OCI image-spec 1.1, layer.md, into the form of overlayfs.

A whiteout (`.wh.NAME`) becomes a character device 0/0, an opaque mark (`.wh..wh..opq`) the attribute
`trusted.overlay.opaque`. Both are said only here: a device 0/0 and overlayfs' own attributes in an archive
are refused or dropped. Where one layer has a whiteout and an entry of one name, the entry stays and hides
what is below (layer.md: whiteouts apply to lower layers only).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from zlib import crc32 as _zlib_crc32

from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded
from orlop.store.errors import HostileArchive
from orlop.store.unpack import tar
from orlop.store.unpack.listing import Listing, Record
from orlop.store.unpack.tree import Path, Tree

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    _crc32 = _zlib_crc32

_WHITEOUT = b".wh."
_METADATA = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_OPAQUE_XATTR = "trusted.overlay.opaque"
_ORIGIN_XATTR = "trusted.overlay.origin"
_DEFAULT_ACL = "system.posix_acl_default"
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ID_MAX = 2**32 - 2  # 2**32-1 means "leave it" to chown(2): CVE-2024-40635's class
_TIME_MAX = 2**34 - 1  # what ext4 can say
_TIME_MIN = -(2**31)
_DESCRIPTION = 512  # bytes of names and attributes that an entry may have, on average
_SECOND = 1_000_000_000


class Extractor:
    """Writes entries below `root`. `on_written(fd, count)` is told of the bytes written to a file so far.

    Raises HostileArchive, Corrupt, LimitExceeded; OSError only where the machine is at fault.
    """

    def __init__(
        self,
        root: str,
        subject: str,
        *,
        unpacked_limit: int,
        entries_limit: int,
        on_written: Callable[[int, int, int], None],
    ) -> None:
        self._subject = subject
        self._unpacked_limit = unpacked_limit
        self._entries_limit = entries_limit
        self._on_written = on_written
        self._tree = Tree(root, subject, self._implied)
        self._entries = 0
        self._described = 0  # bytes of names and attributes: they stay in memory until the layer is done
        self._times: dict[Path, int] = {}
        self._whited: set[Path] = set()
        self._giving: set[Path] = set()  # folders that give what is made in them a group or an ACL
        self._never_given = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX | _umask()  # bits open(2) leaves out
        self.size = 0
        self.opaque_root = False
        self.listing = Listing()
        os.fchmod(self._tree.root, 0o755)
        self.listing.add((), Record.of(os.fstat(self._tree.root)))
        if _gives(os.fstat(self._tree.root).st_mode, os.listxattr(self._tree.root)):
            self._giving.add(())
        self._make: dict[bytes, Callable[[tar.Entry, tar.Archive, int, Path], None]] = {
            tar.REGULAR: self._file,
            tar.FOLDER: self._folder,
            tar.SYMLINK: self._symlink,
            tar.HARD_LINK: self._hard_link,
            tar.CHAR: self._device,
            tar.BLOCK_DEVICE: self._device,
            tar.FIFO: self._device,
        }

    def close(self) -> None:
        self._tree.close()

    def run(self, archive: tar.Archive) -> None:
        """Every entry of the archive; then the times of folders, which writing into them has changed."""
        while (entry := archive.entry()) is not None:
            self._entries += 1
            if self._entries > self._entries_limit:
                raise self._beyond(f"more than {self._entries_limit} entries", "layer_entries_limit")
            self.size += max(entry.size, entry.stored)
            self._described += len(entry.name) + len(entry.link)
            if entry.xattrs:
                self._described += sum(map(len, entry.xattrs.values()))
            if self._described > self._entries_limit * _DESCRIPTION:
                raise self._beyond("names and attributes without end", "layer_entries_limit")
            if self.size > self._unpacked_limit:
                raise self._beyond(f"more than {self._unpacked_limit} bytes", "layer_unpacked_limit")
            try:
                self._one(entry, archive)
            except OSError as error:
                raise self._refused(error, entry.name) from error
        for path, when in self._times.items():
            folder = self._tree.open_folder(path)
            try:
                os.utime(folder, ns=(when, when))
            finally:
                os.close(folder)

    def _one(self, entry: tar.Entry, archive: tar.Archive) -> None:
        path = self._path(entry.name, "names")
        if not path:
            self._root(entry)
            return
        name = path[-1]
        if _WHITEOUT in entry.name and any(part.startswith(_WHITEOUT) for part in path):
            self._whiteout(path)
            return
        self._check_owner(entry)
        parent, above = self._tree.parent(path[:-1])
        self._make[entry.kind](entry, archive, parent, (*above, name))

    # -- what may be asked for -----------------------------------------------------------------------

    def _path(self, name: bytes, verb: str) -> Path:
        """The parts of a name below the root. Refuses absolute names, `..` and names beyond all bounds."""
        parts = name.split(b"/")
        if b"" in parts or b"." in parts:
            if name.startswith(b"/"):
                raise self._hostile(f"{verb} an absolute path", name)
            parts = [part for part in parts if part not in (b"", b".")]
        if b".." in parts:
            raise self._hostile(f"{verb} a path with `..`", name)
        if len(name) > limits.PATH_LENGTH or len(parts) > limits.PATH_DEPTH:
            raise self._hostile(f"{verb} a path of {len(name)} bytes and {len(parts)} parts", name)
        if b"\0" in name:
            raise self._hostile(f"{verb} a path with a zero byte", name)
        return tuple(parts)

    def _check_owner(self, entry: tar.Entry) -> None:
        if not (0 <= entry.uid <= _ID_MAX and 0 <= entry.gid <= _ID_MAX):
            raise self._hostile(f"gives an owner that cannot be, {entry.uid}:{entry.gid}, to", entry.name)

    def _hostile(self, what: str, name: bytes) -> HostileArchive:
        return HostileArchive(
            self._subject,
            f"its archive {what}: {_shown(name)}",
            hint="do not trust this image",
        )

    def _beyond(self, what: str, key: str) -> LimitExceeded:
        return LimitExceeded(
            self._subject,
            f"unpacks to {what}",
            hint=f"raise [store] {key} if you trust this image",
        )

    def _refused(self, error: OSError, name: bytes) -> Exception:
        """What the file system will not have is the archive's fault, unless the machine is at its end."""
        wrong = (
            errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EXDEV, errno.EINVAL,
            errno.ENOENT, errno.EEXIST, errno.EMLINK, errno.E2BIG, errno.ERANGE, errno.EFBIG,
        )  # fmt: skip
        if error.errno in wrong:
            return self._hostile(f"asks for what no file system takes ({error.strerror})", name)
        return error

    # -- making ----------------------------------------------------------------------------------------

    def _implied(self, folder: int, path: Path) -> None:
        """A folder came to be only because something lies in it."""
        if path in self._whited:
            os.setxattr(folder, _OPAQUE_XATTR, b"y")
        if path[:-1] in self._giving:
            self._giving.add(path)
        self.listing.add(path, Record.of(os.fstat(folder), self._marks(path)))

    def _marks(self, path: Path) -> tuple[tuple[str, bytes], ...]:
        return ((_OPAQUE_XATTR, b"y"),) if path in self._whited else ()

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
            self._times = {key: when for key, when in self._times.items() if key[:length] != path}
        return False

    def _retrying(self, make: Callable[[], None], parent: int, path: Path) -> None:
        try:
            make()
        except FileExistsError:
            self._clear(parent, path)
            make()

    def _file(self, entry: tar.Entry, archive: tar.Archive, parent: int, path: Path) -> None:
        name = path[-1]
        given = path[:-1] in self._giving
        as_wanted = not given and not entry.mode & self._never_given
        mode = entry.mode if as_wanted else 0o600
        try:
            file = os.open(name, _NEW_FILE, mode, dir_fd=parent)
        except FileExistsError:
            self._clear(parent, path)
            file = os.open(name, _NEW_FILE, mode, dir_fd=parent)
        try:
            checksum = None
            if entry.sparse is None:
                checksum = self._content(entry, archive, file)
            else:
                self._sparse(entry, archive, file)
            # Most files are root's with mode 644 or 755, as they come to be: two system calls less for each.
            if entry.uid or entry.gid or given:
                os.fchown(file, entry.uid, entry.gid)
            if not as_wanted:
                os.fchmod(file, entry.mode)  # after chown(2), which takes setuid away
            xattrs = self._xattrs(file, entry) if entry.xattrs else ()
            when = _when(entry)
            os.utime(file, ns=(when, when))
        finally:
            os.close(file)
        self.listing.add(
            path, Record(stat.S_IFREG | entry.mode, entry.uid, entry.gid, entry.size, when, xattrs, checksum)
        )

    def _content(self, entry: tar.Entry, archive: tar.Archive, file: int) -> int:
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

    def _folder(self, entry: tar.Entry, _: tar.Archive, parent: int, path: Path) -> None:
        name = path[-1]
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not self._clear(parent, path, keep_folder=True):
                os.mkdir(name, 0o700, dir_fd=parent)
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            self._dress_folder(folder, entry, path)
        finally:
            os.close(folder)

    def _root(self, entry: tar.Entry) -> None:
        """The entry of the root itself (`./`), which many archives begin with."""
        if entry.kind != tar.FOLDER:
            raise self._hostile("replaces its own root", entry.name)
        self._check_owner(entry)
        self._dress_folder(self._tree.root, entry, ())

    def _dress_folder(self, folder: int, entry: tar.Entry, path: Path) -> None:
        os.fchown(folder, entry.uid, entry.gid)
        os.fchmod(folder, entry.mode)
        xattrs = self._xattrs(folder, entry) if entry.xattrs else ()
        if (path and path[:-1] in self._giving) or _gives(entry.mode, [name for name, _ in xattrs]):
            self._giving.add(path)
        if path in self._whited:
            os.setxattr(folder, _OPAQUE_XATTR, b"y")
            xattrs = (*xattrs, *self._marks(path))
        self._times[path] = _when(entry)
        known = self.listing.get(path)
        if known is not None and known.xattrs:  # an archive may name a folder twice: its attributes add up
            xattrs = tuple({**dict(known.xattrs), **dict(xattrs)}.items())
        self.listing.add(path, Record(stat.S_IFDIR | entry.mode, entry.uid, entry.gid, 0, 0, xattrs))

    def _symlink(self, entry: tar.Entry, _: tar.Archive, parent: int, path: Path) -> None:
        name, target = path[-1], entry.link
        if not target or len(target) >= limits.PATH_LENGTH or b"\0" in target:
            raise self._hostile("makes a link to nothing", entry.name)
        self._retrying(lambda: os.symlink(target, name, dir_fd=parent), parent, path)
        self._dress_node(entry, parent, path, stat.S_IFLNK | 0o777, target=target)

    def _hard_link(self, entry: tar.Entry, _: tar.Archive, parent: int, path: Path) -> None:
        wanted = self._path(entry.link, "links to")
        if not wanted or any(part.startswith(_WHITEOUT) for part in wanted):
            raise self._hostile(f"links to {_shown(entry.link)} from", entry.name)
        source, above = self._tree.parent(wanted[:-1])
        target = (*above, wanted[-1])
        record = self.listing.get(target)
        if record is None or stat.S_ISDIR(record.mode):
            raise Corrupt(
                self._subject,
                f"its archive is broken: {_shown(entry.name)} is a link to what is not in it",
                hint="pull again, or build it again",
            )
        if target == path:
            return
        try:
            os.link(target[-1], path[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            self._clear(parent, path)
            source, _above = self._tree.parent(wanted[:-1])
            os.link(target[-1], path[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        self.listing.add(path, record)

    def _device(self, entry: tar.Entry, _: tar.Archive, parent: int, path: Path) -> None:
        name = path[-1]
        kinds = {tar.CHAR: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}
        kind = kinds[entry.kind]
        if entry.kind != tar.FIFO and not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise self._hostile(f"makes a device {entry.major}:{entry.minor} that cannot be", entry.name)
        if entry.kind == tar.CHAR and entry.major == entry.minor == 0:
            raise self._hostile("makes a device 0:0, which overlayfs takes for a whiteout", entry.name)
        device = os.makedev(entry.major, entry.minor) if entry.kind != tar.FIFO else 0
        self._retrying(lambda: os.mknod(name, kind | 0o600, device, dir_fd=parent), parent, path)
        self._dress_node(entry, parent, path, kind | entry.mode, device=device)

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
        when = _when(entry)
        os.utime(name, ns=(when, when), dir_fd=parent, follow_symlinks=False)
        self.listing.add(path, Record(mode, entry.uid, entry.gid, 0, when, xattrs, None, target, device))

    def _xattrs(self, where: int | bytes, entry: tar.Entry) -> tuple[tuple[str, bytes], ...]:
        """Set what the archive gives; after chown(2), which takes file capabilities away."""
        assert entry.xattrs is not None
        kept = []
        for name, value in sorted(entry.xattrs.items()):
            if name.startswith(_OVERLAY_XATTRS):
                continue
            try:
                if isinstance(where, int):
                    os.setxattr(where, name, value)
                else:
                    os.setxattr(where, name, value, follow_symlinks=False)
            except OSError as error:
                # A file system without the attribute's class, or a class that this kind of file cannot bear:
                # left out, as the field does. Capabilities are never left out.
                if error.errno not in (errno.ENOTSUP, errno.EPERM) or name == "security.capability":
                    raise
                continue
            kept.append((name, value))
        return tuple(kept)

    # -- whiteouts -------------------------------------------------------------------------------------

    def _whiteout(self, path: Path) -> None:
        if any(part.startswith(_WHITEOUT) for part in path[:-1]):
            if any(part.startswith(_METADATA) for part in path):
                return  # AUFS' own book-keeping (.wh..wh.plnk and the like)
            raise self._hostile("has a folder named as a whiteout", b"/".join(path))
        name = path[-1]
        if name == _OPAQUE:
            self._opaque(path[:-1])
            return
        if name.startswith(_METADATA):
            return
        hidden = name[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise self._hostile("removes its own folder or the one above", b"/".join(path))
        if any(path[:end] in self._whited and self._is_gone(path[:end]) for end in range(1, len(path))):
            return  # its folder is whited out as a whole
        parent, above = self._tree.parent(path[:-1])
        target = (*above, hidden)
        self._whited.add(target)
        known = self.listing.get(target)
        if known is None:
            os.mknod(hidden, stat.S_IFCHR, 0, dir_fd=parent)
            self.listing.add(target, Record(stat.S_IFCHR, 0, 0, 0, 0))
            self._has_whiteouts(parent, above)
        elif stat.S_ISDIR(known.mode):
            self._opaque(target)

    def _has_whiteouts(self, folder: int, path: Path) -> None:
        """Overlayfs looks for whiteouts where folders of several layers meet, and where it sees this mark.

        Without it, one in a folder that is opaque or new would be listed as a name that opens nothing.
        """
        record = self.listing.get(path) if path else None  # at the root all layers meet
        if record is None or any(name == _ORIGIN_XATTR for name, _ in record.xattrs):
            return
        os.setxattr(folder, _ORIGIN_XATTR, b"")
        self.listing.add(path, record.with_xattr(_ORIGIN_XATTR, b""))

    def _is_gone(self, path: Path) -> bool:
        known = self.listing.get(path)
        return known is not None and stat.S_ISCHR(known.mode) and known.device == 0

    def _opaque(self, path: Path) -> None:
        folder, real = self._tree.parent(path)
        if not real:
            self.opaque_root = True  # overlayfs has no mark for the root: lower layers are left out instead
            return
        os.setxattr(folder, _OPAQUE_XATTR, b"y")
        self._whited.add(real)
        record = self.listing.get(real)
        assert record is not None
        self.listing.add(real, record.with_xattr(_OPAQUE_XATTR, b"y"))


def _shown(name: bytes) -> str:
    return repr(name[:200].decode(errors="backslashreplace"))


def _when(entry: tar.Entry) -> int:
    return min(max(entry.mtime, _TIME_MIN * _SECOND), _TIME_MAX * _SECOND)


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
