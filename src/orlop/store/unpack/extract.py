"""What an archive's entries mean in a layer: OCI image-spec 1.1, layer.md, into the form of overlayfs.

A whiteout (`.wh.NAME`) becomes a character device 0/0, an opaque mark (`.wh..wh..opq`) the attribute
`trusted.overlay.opaque`. Both are said only here: a device 0/0 and overlayfs' own attributes in an archive
are refused or dropped. Where one layer has a whiteout and an entry of one name, the entry stays and hides
what is below (layer.md: whiteouts apply to lower layers only).

What is made of the entries is a `writer`'s affair.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from typing import Generic

from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded
from orlop.store.errors import HostileArchive
from orlop.store.unpack import tar
from orlop.store.unpack.tree import Path
from orlop.store.unpack.writer import F, Writer

_WHITEOUT = b".wh."
_METADATA = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_ID_MAX = 2**32 - 2  # 2**32-1 means "leave it" to chown(2): CVE-2024-40635's class
_DESCRIPTION = 512  # bytes of names and attributes that an entry may have, on average
_NO_LEAF = frozenset((b"", b".", b".."))
_HEADS = 10_000  # folders' names whose parts are remembered
_NODES = {tar.CHAR: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}


class Extractor(Generic[F]):
    """Hands each entry that may be to `writer`. Raises HostileArchive, Corrupt, LimitExceeded; OSError only
    where the machine is at fault.
    """

    def __init__(self, writer: Writer[F], subject: str, *, unpacked_limit: int, entries_limit: int) -> None:
        self._writer = writer
        self._subject = subject
        self._unpacked_limit = unpacked_limit
        self._entries_limit = entries_limit
        self._entries = 0
        self._described = 0  # bytes of names and attributes: they stay in memory until the layer is done
        self._heads: dict[bytes, Path] = {}  # folders' names that were looked at, and their parts
        self.size = 0
        self.opaque_root = False
        self._make: dict[bytes, Callable[[tar.Entry, tar.Archive, F, Path], None]] = {
            tar.REGULAR: writer.file,
            tar.FOLDER: lambda entry, _, folder, path: writer.folder(entry, folder, path),
            tar.SYMLINK: self._symlink,
            tar.HARD_LINK: self._hard_link,
            tar.CHAR: self._device,
            tar.BLOCK_DEVICE: self._device,
            tar.FIFO: self._device,
        }

    def run(self, archive: tar.Archive) -> None:
        """Every entry of the archive."""
        while (entry := archive.entry()) is not None:
            self._entries += 1
            if self._entries > self._entries_limit:
                raise self._beyond(f"more than {self._entries_limit} entries", "layer_entries_limit")
            self.size += max(entry.stored, entry.size)
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
        self._writer.finish()

    def _one(self, entry: tar.Entry, archive: tar.Archive) -> None:
        path = self._parts(entry.name)
        if not path:
            self._root(entry)
            return
        if _WHITEOUT in entry.name and any(part.startswith(_WHITEOUT) for part in path):
            self._whiteout(path)
            return
        if not (0 <= entry.uid <= _ID_MAX and 0 <= entry.gid <= _ID_MAX):
            raise self._owner(entry)
        folder, above = self._writer.parent(path[:-1])
        self._make[entry.kind](entry, archive, folder, (*above, path[-1]))

    # -- what may be asked for -----------------------------------------------------------------------

    def _parts(self, name: bytes) -> Path:
        """As `_path`; most names lie in the folder of the one before."""
        head, _, leaf = name.rpartition(b"/")
        known = self._heads.get(head)
        plain = leaf not in _NO_LEAF and not name.startswith(b"/")
        if known is not None and plain and b"\0" not in leaf and len(name) <= limits.PATH_LENGTH:
            return (*known, leaf)
        path = self._path(name, "names")
        if plain:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[head] = path[:-1]
        return path

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

    def _owner(self, entry: tar.Entry) -> HostileArchive:
        return self._hostile(f"gives an owner that cannot be, {entry.uid}:{entry.gid}, to", entry.name)

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

    def _root(self, entry: tar.Entry) -> None:
        """The entry of the root itself (`./`), which many archives begin with."""
        if entry.kind != tar.FOLDER:
            raise self._hostile("replaces its own root", entry.name)
        if not (0 <= entry.uid <= _ID_MAX and 0 <= entry.gid <= _ID_MAX):
            raise self._owner(entry)
        self._writer.root(entry)

    def _symlink(self, entry: tar.Entry, _: tar.Archive, folder: F, path: Path) -> None:
        if not entry.link or len(entry.link) >= limits.PATH_LENGTH or b"\0" in entry.link:
            raise self._hostile("makes a link to nothing", entry.name)
        self._writer.symlink(entry, folder, path)

    def _hard_link(self, entry: tar.Entry, _: tar.Archive, folder: F, path: Path) -> None:
        wanted = self._path(entry.link, "links to")
        if not wanted or any(part.startswith(_WHITEOUT) for part in wanted):
            raise self._hostile(f"links to {_shown(entry.link)} from", entry.name)
        if not self._writer.hard_link(wanted, folder, path):
            raise Corrupt(
                self._subject,
                f"its archive is broken: {_shown(entry.name)} is a link to what is not in it",
                hint="pull again, or build it again",
            )

    def _device(self, entry: tar.Entry, _: tar.Archive, folder: F, path: Path) -> None:
        if entry.kind != tar.FIFO and not (0 <= entry.major < 1 << 12 and 0 <= entry.minor < 1 << 20):
            raise self._hostile(f"makes a device {entry.major}:{entry.minor} that cannot be", entry.name)
        if entry.kind == tar.CHAR and entry.major == entry.minor == 0:
            raise self._hostile("makes a device 0:0, which overlayfs takes for a whiteout", entry.name)
        self._writer.device(entry, _NODES[entry.kind], folder, path)

    # -- whiteouts -------------------------------------------------------------------------------------

    def _whiteout(self, path: Path) -> None:
        writer = self._writer
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
        if any(path[:end] in writer.whited and self._is_gone(path[:end]) for end in range(1, len(path))):
            return  # its folder is whited out as a whole
        folder, above = writer.parent(path[:-1])
        target = (*above, hidden)
        writer.whited.add(target)
        known = writer.found(target)
        if known is None:
            writer.whiteout(folder, target)
        elif stat.S_ISDIR(known[0]):
            self._opaque(target)

    def _is_gone(self, path: Path) -> bool:
        known = self._writer.found(path)
        return known is not None and stat.S_ISCHR(known[0]) and known[1] == 0

    def _opaque(self, path: Path) -> None:
        folder, real = self._writer.parent(path)
        if not real:
            self.opaque_root = True  # overlayfs has no mark for the root: lower layers are left out instead
            return
        self._writer.opaque(folder, real)
        self._writer.whited.add(real)


def _shown(name: bytes) -> str:
    return repr(name[:200].decode(errors="backslashreplace"))
