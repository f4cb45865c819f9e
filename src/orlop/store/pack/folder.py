"""The archive of a folder whose writers are gone: an overlay's upper folder, or a plain one.

Whiteouts (devices 0:0) become `.wh.NAME`, opaque folders get `.wh..wh..opq`, hard links stay links, sockets
are left out (OCI image-spec 1.1, layer.md). The folder is made what an extraction of the archive would give:
times cut to seconds and bounded, overlayfs' own attributes gone but those that `unpack` sets as well.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from typing import Protocol
from zlib import crc32 as _zlib_crc32

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded
from orlop.kit.value import dataclass
from orlop.store.pack import headers
from orlop.store.unpack import tar
from orlop.store.unpack.listing import Listing, Path, Record

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    _crc32 = _zlib_crc32

_PIECE = 1 * limits.MIB
_SMALL = 64 * limits.KIB
_SECOND = 1_000_000_000
_OPAQUE = "trusted.overlay.opaque"
_ORIGIN = "trusted.overlay.origin"
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_OF_THE_MACHINE = ("security.selinux", "security.ima", "security.evm")  # labels say something here only
_KINDS = {stat.S_IFCHR: tar.CHAR, stat.S_IFBLK: tar.BLOCK_DEVICE, stat.S_IFIFO: tar.FIFO}


class Write(Protocol):
    def __call__(self, piece: bytes | memoryview, /) -> object: ...


@dataclass(frozen=True)
class Times:
    """Modification times: none is later than `newest`, and with `all_alike` each is it. Seconds."""

    newest: int | None = None
    all_alike: bool = False

    def of(self, seconds: int) -> int:
        if self.newest is None:
            return seconds
        return self.newest if self.all_alike else min(seconds, self.newest)


@dataclass(frozen=True)
class Packed:
    """`entries` counts the archive's; 0: the folder holds nothing, and nothing was written."""

    size: int  # bytes of files
    entries: int
    listing: Listing


def pack(
    folder: str,
    write: Write,
    *,
    times: Times,
    hides: Callable[[bytes], bool],
    tick: Callable[[], None],
    touch: bool = True,
    like: os.stat_result | None = None,
) -> Packed:
    """Write the archive of what is below `folder` piece by piece.

    `hides(path)`: whether there is a folder of that path below this layer, so that an opaque mark means
    something; `like`: the root below, if there is one. Without `touch` the folder stays as it is (a merged
    root, read-only). Raises InvalidInput for a name that no archive of a layer can hold, LimitExceeded;
    OSError.
    """
    return _Packing(folder, write, times, hides, tick, touch=touch).run(like)


class _Packing:
    def __init__(
        self,
        folder: str,
        write: Write,
        times: Times,
        hides: Callable[[bytes], bool],
        tick: Callable[[], None],
        *,
        touch: bool,
    ) -> None:
        self._root = os.fsencode(folder)
        self._touch = touch
        self._write = write
        self._times = times
        self._hides = hides
        self._tick = tick
        self._listing = Listing()
        self._links: dict[int, tuple[bytes, Record]] = {}
        self._folders: list[tuple[bytes, int]] = []
        self._buffer = bytearray(_PIECE)
        self._pending: list[bytes] = []
        self._held = 0
        self._size = 0
        self._entries = 0

    def run(self, like: os.stat_result | None) -> Packed:
        top = os.lstat(self._root)
        xattrs, _ = self._attributes(self._root, folder=True)
        special = (*_owner(top), bool(xattrs)) != (0o755, 0, 0, False)
        with os.scandir(self._root) as found:
            empty = next(found, None) is None
        if empty and special:  # as it was below: nothing is said by it
            empty = like is not None and _owner(top) == _owner(like) and not xattrs
        self._listing.add(
            (), Record(top.st_mode, top.st_uid, top.st_gid, 0, 0, tuple(sorted(xattrs.items())))
        )
        if empty:
            return Packed(0, 0, self._listing)
        if special:
            self._entry(b"./", tar.FOLDER, top, xattrs, mtime=self._times.of(int(top.st_mtime)))
        self._below(self._root, b"")
        self._put(headers.END)
        self._flush()
        for path, seconds in self._folders if self._touch else ():
            os.utime(path, ns=(seconds * _SECOND, seconds * _SECOND))
        return Packed(self._size, self._entries, self._listing)

    def _below(self, top: bytes, top_name: bytes) -> None:
        pending = [(top, top_name)]
        while pending:
            path, name = pending.pop()
            if name:
                self._folder(path, name)
            self._tick()
            try:
                with os.scandir(path) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                raise _too_deep(name, error) from error
            inner = []
            for entry in found:
                full = name + b"/" + entry.name if name else entry.name
                if entry.is_dir(follow_symlinks=False):
                    inner.append((entry.path, full))
                else:
                    self._leaf(entry.path, full, entry.name)
            pending += reversed(inner)

    def _folder(self, path: bytes, name: bytes) -> None:
        status = os.lstat(path)
        xattrs, opaque = self._attributes(path, folder=True)
        seconds = self._times.of(int(status.st_mtime))
        self._folders.append((path, seconds))
        self._entry(name + b"/", tar.FOLDER, status, xattrs, mtime=seconds)
        kept = dict(xattrs)
        if opaque and self._hides(name):
            self._put(headers.header(name + b"/.wh..wh..opq", tar.REGULAR))
            self._entries += 1
            kept[_OPAQUE] = b"y"
        elif opaque and self._touch:
            os.removexattr(path, _OPAQUE)
        record = Record(status.st_mode, status.st_uid, status.st_gid, 0, 0, tuple(sorted(kept.items())))
        self._listing.add(_parts(name), record)

    def _leaf(self, path: bytes, name: bytes, last: bytes) -> None:
        status = os.lstat(path)
        mode = stat.S_IFMT(status.st_mode)
        if last.startswith(b".wh."):
            raise InvalidInput(
                name.decode(errors="backslashreplace"),
                "a file of this name would remove another in the image",
                hint="give it a name that does not begin with .wh.",
            )
        if mode == stat.S_IFSOCK:
            if self._touch:
                os.unlink(path)
            return
        if mode == stat.S_IFCHR and status.st_rdev == 0:
            self._whiteout(path, name, last)
            return
        if status.st_nlink > 1 and (first := self._links.get(status.st_ino)) is not None:
            seconds = first[1].mtime // _SECOND  # whoever extracts sets it again
            self._entry(name, tar.HARD_LINK, status, {}, mtime=seconds, link=first[0])
            self._listing.add(_parts(name), first[1])
            return
        record = self._one(path, name, mode, status)
        if status.st_nlink > 1:
            self._links[status.st_ino] = (name, record)
        self._listing.add(_parts(name), record)

    def _one(self, path: bytes, name: bytes, mode: int, status: os.stat_result) -> Record:
        xattrs, _ = self._attributes(path, folder=False)
        seconds = self._times.of(int(status.st_mtime))
        target, checksum = b"", None
        device = (0, 0)
        if mode == stat.S_IFREG:
            self._entry(name, tar.REGULAR, status, xattrs, mtime=seconds, size=status.st_size)
            checksum = self._content(path, name, status.st_size)
            self._size += status.st_size
        elif mode == stat.S_IFLNK:
            target = os.readlink(path)
            self._entry(name, tar.SYMLINK, status, xattrs, mtime=seconds, link=target)
        else:
            if mode != stat.S_IFIFO:
                device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            self._entry(name, _KINDS[mode], status, xattrs, mtime=seconds, device=device)
        when = seconds * _SECOND
        if status.st_mtime_ns != when and self._touch:
            os.utime(path, ns=(when, when), follow_symlinks=False)
        size = status.st_size if mode == stat.S_IFREG else 0
        attributes = tuple(sorted(xattrs.items()))
        rdev = status.st_rdev if any(device) else 0
        whole = status.st_mode, status.st_uid, status.st_gid, size, when, attributes
        return Record(*whole, checksum, target, rdev)

    def _whiteout(self, path: bytes, name: bytes, last: bytes) -> None:
        self._attributes(path, folder=False)
        above = name[: len(name) - len(last)]
        self._put(headers.header(above + b".wh." + last, tar.REGULAR))
        self._entries += 1
        status = os.lstat(path)
        self._listing.add(_parts(name), Record(status.st_mode, status.st_uid, status.st_gid, 0, 0))
        parent = _parts(above[:-1]) if above else ()
        record = self._listing.get(parent) if parent else None
        if record is not None and not any(key == _ORIGIN for key, _ in record.xattrs):  # see unpack.extract
            os.setxattr(os.path.dirname(path), _ORIGIN, b"")
            self._listing.add(parent, record.with_xattr(_ORIGIN, b""))

    def _attributes(self, path: bytes, *, folder: bool) -> tuple[dict[str, bytes], bool]:
        """What the archive says of it, and whether it is opaque; overlayfs' own are taken away."""
        kept: dict[str, bytes] = {}
        opaque = False
        for name in os.listxattr(path, follow_symlinks=False):
            if name == _OPAQUE and folder and os.getxattr(path, name) == b"y":
                opaque = True
            elif name.startswith(_OVERLAY):
                if self._touch:
                    os.removexattr(path, name, follow_symlinks=False)
            elif name in _OF_THE_MACHINE:
                with contextlib.suppress(OSError):
                    if self._touch:
                        os.removexattr(path, name, follow_symlinks=False)
            else:
                kept[name] = os.getxattr(path, name, follow_symlinks=False)
        return kept, opaque

    def _content(self, path: bytes, name: bytes, size: int) -> int:
        if not size:
            return 0
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if size <= _SMALL:
                data = os.read(file, size)
                if len(data) != size:
                    raise _changed(name)
                self._put(data + headers.padding(size))
                return _crc32(data)
            return self._stream(file, name, size)
        finally:
            os.close(file)

    def _stream(self, file: int, name: bytes, size: int) -> int:
        self._flush()
        checksum, left = 0, size
        view = memoryview(self._buffer)
        while left:
            self._tick()
            count = os.readv(file, [view[:left]])
            if not count:
                raise _changed(name)
            checksum = _crc32(view[:count], checksum)
            self._write(view[:count])
            left -= count
        self._put(headers.padding(size))
        return checksum

    def _entry(
        self,
        name: bytes,
        kind: bytes,
        status: os.stat_result,
        xattrs: dict[str, bytes],
        *,
        mtime: int,
        size: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
    ) -> None:
        if len(name) > limits.PATH_LENGTH:
            raise _too_deep(name, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        self._entries += 1
        self._put(
            headers.header(
                name,
                kind,
                mode=status.st_mode,
                uid=status.st_uid,
                gid=status.st_gid,
                size=size,
                mtime=mtime,
                link=link,
                device=device,
                xattrs=xattrs,
            )
        )

    def _put(self, piece: bytes) -> None:
        self._pending.append(piece)
        self._held += len(piece)
        if self._held >= _PIECE:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._write(b"".join(self._pending))
            self._pending, self._held = [], 0


def _owner(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mode & 0o7777, status.st_uid, status.st_gid


def _parts(name: bytes) -> Path:
    return tuple(name.split(b"/"))


def _changed(name: bytes) -> InvalidInput:
    return InvalidInput(
        name.decode(errors="backslashreplace"), "changes while it is read", hint="see who writes into it"
    )


def _too_deep(name: bytes, error: OSError) -> Exception:
    if error.errno != errno.ENAMETOOLONG:
        return error
    where = name[:200].decode(errors="backslashreplace")
    return LimitExceeded(f"{where}...", "lies deeper than a path can say", hint="remove it in the same step")
