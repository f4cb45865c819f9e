"""Entries become an index: inodes that point into the archive's own bytes, folders kept as dictionaries.

Inodes of everything but folders are packed when their entry comes, so that little is left to do at the end
and a file costs its folder one name and one number. Names are resolved in memory, by the rules of `tree`.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from orlop.kit import limits
from orlop.store.erofs import format as on_disk
from orlop.store.erofs import xattrs
from orlop.store.erofs.tar_within import TAR_OFFSET
from orlop.store.errors import HostileArchive
from orlop.store.unpack import tar
from orlop.store.unpack.tree import LINKS, Path, shown
from orlop.store.unpack.writer import OPAQUE_XATTR, ORIGIN_XATTR, when

_NAME_MAX = 255
_SECOND = 1_000_000_000
_KIND_BITS = 3  # of a child's number, which is offset << 3 | kind; the offset is the inode's among `inodes`
_KIND = (1 << _KIND_BITS) - 1
_KINDS = {
    stat.S_IFREG: on_disk.REGULAR,
    stat.S_IFLNK: on_disk.SYMLINK,
    stat.S_IFCHR: on_disk.CHAR,
    stat.S_IFBLK: on_disk.BLOCK_DEVICE,
    stat.S_IFIFO: on_disk.FIFO,
}
_CHUNK = 4096
_CHUNKS_MAX = 1 << 16  # of one sparse file
_PLAIN_FILE, _FILE_KIND = on_disk.PLAIN, on_disk.REGULAR
_S_IFREG = stat.S_IFREG
_pack = on_disk.INODE.pack


class Folder:
    """`children` are folders, or numbers of other inodes. `mtime` in nanoseconds."""

    __slots__ = ("children", "gid", "mode", "mtime", "uid", "xattrs")

    def __init__(self) -> None:
        self.children: dict[bytes, Folder | int] = {}
        self.mode = stat.S_IFDIR | 0o755
        self.uid = self.gid = self.mtime = 0
        self.xattrs: dict[str, bytes] = {}


class Sparse(NamedTuple):
    """A sparse file: where its inode and its map of chunks are among `inodes`, its stored bytes' place in the
    image file, what they are, and the bytes of a chunk.
    """

    inode: int
    chunk_map: int
    data: int
    pieces: list[tuple[int, int]]
    chunk: int


class ErofsWriter:
    """A `unpack.writer.Writer` that reads no data. What `metadata` writes is collected here."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self.whited: set[Path] = set()
        self.top = Folder()
        self.inodes = bytearray()
        self.long_links: list[tuple[int, bytes]] = []  # inodes whose target has blocks of its own
        self.sparse: list[Sparse] = []
        self.count = 1
        self._links: dict[int, bytes] = {}  # targets of symbolic links, by number
        self._names: dict[int, int] = {}  # of inodes with more than one
        self._white = -1  # the number of the one inode that all whiteouts share
        self._folders: dict[Path, tuple[Folder, Path]] = {}

    @property
    def inode_count(self) -> int:
        """Names, those of one inode counted once."""
        return self.count - sum(names - 1 for names in self._names.values() if names > 1)

    def close(self) -> None:
        """Nothing is held."""

    def finish(self) -> None:
        self._folders.clear()

    # -- names -----------------------------------------------------------------------------------------

    def parent(self, path: Path) -> tuple[Folder, Path]:
        if not path:
            return self.top, path
        known = self._folders.get(path)
        if known is None:
            known = self._folders[path] = self._resolved(path)
        return known

    def _resolved(self, path: Path) -> tuple[Folder, Path]:
        """As `tree.Tree` does it with descriptors."""
        done: list[bytes] = []
        way = [self.top]
        pending = list(reversed(path))
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                if not done:
                    raise self._leaves(path)
                done.pop()
                way.pop()
                continue
            child = way[-1].children.get(name)
            if isinstance(child, int) and child & _KIND == on_disk.SYMLINK:
                target = self._links[child]
                links += 1
                if links > LINKS or target.startswith(b"/"):
                    raise self._leaves(path)
                pending += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
                continue
            done.append(name)
            way.append(child if isinstance(child, Folder) else self._implied(way[-1], tuple(done), child))
            if len(done) > limits.PATH_DEPTH:
                raise self._leaves(path)
        return way[-1], tuple(done)

    def _implied(self, above: Folder, path: Path, there: int | None) -> Folder:
        """A folder that comes to be because something lies in it."""
        if there is not None and there != self._white:
            raise HostileArchive(
                self._subject,
                f"its archive puts something below {shown(path)}, which is no folder",
                hint="do not trust this image",
            )
        made = Folder()
        if above.mode & stat.S_ISGID:
            made.gid = above.gid
        self._put(above, path[-1], made)
        if path in self.whited:
            made.xattrs[OPAQUE_XATTR] = b"y"
        return made

    def found(self, path: Path) -> tuple[int, int] | None:
        here: Folder | int | None = self.top
        for name in path:
            if not isinstance(here, Folder):
                return None
            here = here.children.get(name)
        if here is None:
            return None
        if isinstance(here, Folder):
            return here.mode, 0
        offset = here >> _KIND_BITS
        mode = int.from_bytes(self.inodes[offset + 4 : offset + 6], "little")
        at = offset + on_disk.UNION_AT
        device = int.from_bytes(self.inodes[at : at + 4], "little")
        return mode, device if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else 0

    def _put(self, folder: Folder, name: bytes, child: Folder | int) -> None:
        """The name is `child` from now on, whatever it was."""
        if len(name) > _NAME_MAX:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        children = folder.children
        old = children.get(name)
        if old is not None:
            self._drop(old)
        children[name] = child
        self.count += 1

    def _drop(self, old: Folder | int) -> None:
        """A name goes, and what is below it. An inode without a name stays where it is, seen by nobody."""
        if isinstance(old, Folder):
            self._folders.clear()  # paths may mean something else from now on
            for below in _below(old):
                self._unlink(below)
            self.count -= 1
        else:
            if old & _KIND == on_disk.SYMLINK:
                self._folders.clear()
            self._unlink(old)

    def _unlink(self, child: Folder | int) -> None:
        self.count -= 1
        if isinstance(child, int) and child in self._names:
            self._set_names(child, self._names[child] - 1)

    def _set_names(self, child: int, names: int) -> None:
        self._names[child] = names
        struct.pack_into("<I", self.inodes, (child >> _KIND_BITS) + on_disk.NLINK_AT, max(names, 1))

    def _leaves(self, path: Path) -> HostileArchive:
        return HostileArchive(
            self._subject,
            f"its archive writes through a link that leaves the root: {shown(path)}",
            hint="do not trust this image",
        )

    # -- inodes ----------------------------------------------------------------------------------------

    def file(self, entry: tar.Entry, archive: tar.Archive, folder: Folder, path: Path) -> None:
        if entry.sparse is not None:
            self._put(folder, path[-1], self._sparse(entry, archive))
            return
        attributes = xattrs.encoded(xattrs.kept(entry.xattrs, _S_IFREG)) if entry.xattrs else b""
        inodes = self.inodes
        offset = len(inodes)
        block = (TAR_OFFSET + archive.position) >> on_disk.BLOCK_BITS
        if block >= on_disk.BLOCKS_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        seconds, rest = divmod(when(entry), _SECOND)
        number = offset << _KIND_BITS | _FILE_KIND
        inodes += _pack(
            _PLAIN_FILE, xattrs.count(attributes) if attributes else 0, _S_IFREG | entry.mode, 0, entry.size,
            block, 0, entry.uid, entry.gid, seconds, rest, 1,
        )  # fmt: skip
        if attributes:
            inodes += attributes
            inodes += bytes(-len(inodes) % on_disk.INODE_SIZE)
        self._put(folder, path[-1], number)

    def _inode(
        self,
        entry: tar.Entry,
        mode: int,
        form: int,
        size: int,
        union: int,
        attributes: bytes,
        behind: int = 0,
    ) -> int:
        """A new inode with room for `behind` bytes right after its attributes; returns its number."""
        offset = len(self.inodes)
        seconds, rest = divmod(when(entry), _SECOND)
        self.inodes += _pack(
            form, xattrs.count(attributes), mode, 0, size, union, 0, entry.uid, entry.gid, seconds, rest, 1
        )
        self.inodes += attributes
        self.inodes += bytes(behind)
        self.inodes += bytes(-len(self.inodes) % on_disk.INODE_SIZE)
        return offset << _KIND_BITS | _KINDS[stat.S_IFMT(mode)]

    def _sparse(self, entry: tar.Entry, archive: tar.Archive) -> int:
        """Its data is put behind the tar, by chunks, once that has ended; holes are no chunks."""
        assert entry.sparse is not None
        chunk = _CHUNK
        while entry.size > chunk * _CHUNKS_MAX:
            chunk *= 2
        attributes = xattrs.encoded(xattrs.kept(entry.xattrs or {}, _S_IFREG))
        chunks = -(-entry.size // chunk)
        form = (chunk // on_disk.BLOCK).bit_length() - 1
        number = self._inode(
            entry, _S_IFREG | entry.mode, on_disk.CHUNKS, entry.size, form, attributes, 4 * chunks
        )
        inode = number >> _KIND_BITS
        chunk_map = inode + on_disk.INODE_SIZE + len(attributes)
        self.inodes[chunk_map : chunk_map + 4 * chunks] = b"\xff" * (4 * chunks)
        pieces = [piece for piece in entry.sparse if piece[1]]
        self.sparse.append(Sparse(inode, chunk_map, TAR_OFFSET + archive.position, pieces, chunk))
        return number

    def symlink(self, entry: tar.Entry, folder: Folder, path: Path) -> None:
        target = entry.link
        mode = stat.S_IFLNK | 0o777
        attributes = xattrs.encoded(xattrs.kept(entry.xattrs, mode)) if entry.xattrs else b""
        # The target follows its inode, unless that would cross the end of a block.
        size = on_disk.INODE_SIZE + len(attributes)
        tail = (len(self.inodes) + size) % on_disk.BLOCK
        if tail + len(target) > on_disk.BLOCK and size + len(target) <= on_disk.BLOCK:
            self.inodes += bytes(-len(self.inodes) % on_disk.BLOCK)
            tail = size
        inline = tail + len(target) <= on_disk.BLOCK
        form = on_disk.INLINE if inline else on_disk.PLAIN
        union = on_disk.NO_BLOCK
        number = self._inode(entry, mode, form, len(target), union, attributes, len(target) if inline else 0)
        offset = number >> _KIND_BITS
        if inline:
            self.inodes[offset + size : offset + size + len(target)] = target
        else:
            self.long_links.append((offset, target))
        self._put(folder, path[-1], number)
        self._links[number] = target

    def hard_link(self, wanted: Path, folder: Folder, path: Path) -> bool:
        source, above = self.parent(wanted[:-1])
        child = source.children.get(wanted[-1])
        if not isinstance(child, int):
            return False
        target = (*above, wanted[-1])
        if target == path:
            return True
        if target[: len(path)] == path:  # what is linked to would go with the folder that the link replaces
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._set_names(child, self._names.get(child, 1) + 1)
        self._put(folder, path[-1], child)
        return True

    def device(self, entry: tar.Entry, kind: int, folder: Folder, path: Path) -> None:
        mode = kind | entry.mode
        attributes = xattrs.encoded(xattrs.kept(entry.xattrs, mode)) if entry.xattrs else b""
        device = on_disk.device_number(entry.major, entry.minor) if kind != stat.S_IFIFO else 0
        self._put(folder, path[-1], self._inode(entry, mode, on_disk.PLAIN, 0, device, attributes))

    # -- folders ---------------------------------------------------------------------------------------

    def folder(self, entry: tar.Entry, folder: Folder, path: Path) -> None:
        there = folder.children.get(path[-1])
        if not isinstance(there, Folder):
            there = Folder()
            self._put(folder, path[-1], there)
        self._dress(there, entry)
        if path in self.whited:
            there.xattrs[OPAQUE_XATTR] = b"y"

    def root(self, entry: tar.Entry) -> None:
        self._dress(self.top, entry)

    def _dress(self, folder: Folder, entry: tar.Entry) -> None:
        folder.mode = stat.S_IFDIR | entry.mode
        folder.uid, folder.gid = entry.uid, entry.gid
        folder.mtime = when(entry)
        if entry.xattrs:
            folder.xattrs |= xattrs.kept(entry.xattrs, folder.mode)
            xattrs.encoded(folder.xattrs)  # whether it fits

    # -- overlayfs' marks ------------------------------------------------------------------------------

    def whiteout(self, folder: Folder, path: Path) -> None:
        if self._white < 0:
            entry = tar.Entry(b"", tar.CHAR, 0)
            self._white = self._inode(entry, stat.S_IFCHR, on_disk.PLAIN, 0, 0, b"")
        self._set_names(self._white, self._names.get(self._white, 0) + 1)
        self._put(folder, path[-1], self._white)
        if len(path) > 1:  # see files.FileWriter: at the root all layers meet
            folder.xattrs.setdefault(ORIGIN_XATTR, b"")

    def opaque(self, folder: Folder, path: Path) -> None:
        folder.xattrs[OPAQUE_XATTR] = b"y"


def _below(folder: Folder) -> Iterator[Folder | int]:
    pending = [folder]
    while pending:
        for child in pending.pop().children.values():
            if isinstance(child, Folder):
                pending.append(child)
            yield child
