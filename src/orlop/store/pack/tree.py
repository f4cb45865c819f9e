"""A whole root file system as one archive: what `orlop image export` writes. Reads only.

POSIX pax. Order: a folder, what is in it and is no folder, by name, then each folder in it with all below.
The same root gives the same bytes. Hard links stay links, holes stay holes (GNU's sparse format 1.0, where
they save something), times keep their nanoseconds.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from orlop.kit import kernel, limits
from orlop.kit.errors import Conflict
from orlop.store.pack import headers
from orlop.store.pack.folder import Write
from orlop.store.unpack import tar

_PIECE = 1 * limits.MIB
_SMALL = 64 * limits.KIB
_SECOND = 1_000_000_000
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LEFT_OUT = ("trusted.overlay.", "user.overlay.", "security.selinux", "security.ima", "security.evm")
_HOLES = 64 * limits.KIB  # that a file must have for a map of them
_ALIGNED = 4 * limits.KIB
_ZEROS = memoryview(bytes(_ALIGNED))
_SEGMENTS = 4096  # of data in one map; a file with more is written whole
_KINDS = {
    stat.S_IFCHR: tar.CHAR,
    stat.S_IFBLK: tar.BLOCK_DEVICE,
    stat.S_IFIFO: tar.FIFO,
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFDIR: tar.FOLDER,
    stat.S_IFREG: tar.REGULAR,
}


def pack_tree(root: int, write: Write, *, tick: Callable[[], None]) -> int:
    """Write the archive of what is below the folder `root` (a descriptor); returns the number of entries.

    `write` takes every piece whole. Raises Conflict where a file changes meanwhile; OSError.
    """
    return _Tree(root, write, tick).run()


class _Tree:
    def __init__(self, root: int, write: Write, tick: Callable[[], None]) -> None:
        self._root = root
        self._write = write
        self._tick = tick
        self._links: dict[tuple[int, int], bytes] = {}
        self._buffer = memoryview(bytearray(_PIECE))
        self._pending: list[bytes] = []
        self._held = 0
        self._entries = 0

    def run(self) -> int:
        pending = [b""]
        while pending:
            self._tick()
            name = pending.pop()
            folder = kernel.openat2(self._root, name, _FOLDER, resolve=_BENEATH) if name else self._root
            try:
                self._entry(name + b"/" if name else b"./", b".", folder, os.fstat(folder))
                pending += reversed(self._below(folder, name))
            finally:
                if name:
                    os.close(folder)
        self._put(headers.END)
        self._flush()
        return self._entries

    def _below(self, folder: int, name: bytes) -> list[bytes]:
        """Write what is in the folder and is no folder; returns the folders in it."""
        with os.scandir(folder) as entries:
            found = sorted(
                (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries
            )
        inner = []
        for last, is_folder in found:
            path = name + b"/" + last if name else last
            if is_folder:
                inner.append(path)
            else:
                self._leaf(path, last, folder)
        return inner

    def _leaf(self, path: bytes, last: bytes, folder: int) -> None:
        status = os.stat(last, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode):
            return
        if status.st_nlink > 1:
            key = (status.st_dev, status.st_ino)
            first = self._links.setdefault(key, path)
            if first is not path:
                self._entries += 1
                self._put(headers.header(path, tar.HARD_LINK, mode=status.st_mode, link=first))
                return
        if stat.S_ISREG(status.st_mode):
            self._file(path, last, folder, status)
        else:
            self._entry(path, last, folder, status)

    def _file(self, path: bytes, last: bytes, folder: int, status: os.stat_result) -> None:
        size = status.st_size
        if not size:
            self._entry(path, last, folder, status)
            return
        file = os.open(last, _FILE, dir_fd=folder)
        try:
            segments = _segments(file, size, self._buffer)
            if segments is None:
                self._entry(path, last, folder, status, stored=size)
                self._content(file, path, 0, size)
                self._put(headers.padding(size))
            else:
                self._sparse(path, last, folder, status, file, segments)
        finally:
            os.close(file)

    def _sparse(
        self,
        path: bytes,
        last: bytes,
        folder: int,
        status: os.stat_result,
        file: int,
        segments: list[tuple[int, int]],
    ) -> None:
        """GNU tar's manual, "PAX Format, Version 1.0": the map stands before the data."""
        chart = b"%d\n" % len(segments) + b"".join(b"%d\n%d\n" % segment for segment in segments)
        chart += headers.padding(len(chart))
        stored = len(chart) + sum(length for _, length in segments)
        more = [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", path),
            (b"GNU.sparse.realsize", b"%d" % status.st_size),
        ]
        self._entry(b"GNUSparseFile.0/" + path, last, folder, status, stored=stored, more=more)
        self._put(chart)
        for offset, length in segments:
            self._content(file, path, offset, length)
        self._put(headers.padding(stored))

    def _content(self, file: int, path: bytes, offset: int, length: int) -> None:
        end = offset + length
        if length <= _SMALL:
            data = os.pread(file, length, offset)
            if len(data) != length:
                raise _changed(path)
            self._put(data)
            return
        self._flush()
        while offset < end:
            self._tick()
            count = os.preadv(file, [self._buffer[: end - offset]], offset)
            if not count:
                raise _changed(path)
            self._write(self._buffer[:count])
            offset += count

    def _entry(
        self,
        name: bytes,
        last: bytes,
        folder: int,
        status: os.stat_result,
        *,
        stored: int = 0,
        more: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        self._entries += 1
        kind = _KINDS[stat.S_IFMT(status.st_mode)]
        records = list(more or ())
        seconds, fraction = divmod(status.st_mtime_ns, _SECOND)
        if fraction:
            records.append((b"mtime", _decimal(status.st_mtime_ns)))
            seconds = max(seconds, 0)
        special = kind in (tar.CHAR, tar.BLOCK_DEVICE)
        self._put(
            headers.header(
                name,
                kind,
                mode=status.st_mode,
                uid=status.st_uid,
                gid=status.st_gid,
                size=stored,
                mtime=seconds,
                link=os.readlink(last, dir_fd=folder) if kind == tar.SYMLINK else b"",
                device=(os.major(status.st_rdev), os.minor(status.st_rdev)) if special else (0, 0),
                xattrs=_xattrs(os.fsencode(f"/proc/self/fd/{folder}/") + last),
                more=records,
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


def _segments(file: int, size: int, buffer: memoryview) -> list[tuple[int, int]] | None:
    """Where a file has data, as (offset, length); None where a map of its holes is not worth it.

    Of a file with holes every block of zeros counts as one, so that the map does not depend on how a file
    system laid the file out.
    """
    if size < _HOLES:
        return None
    found: list[tuple[int, int]] = []
    at = 0
    try:
        if os.lseek(file, 0, os.SEEK_HOLE) >= size:
            return None
        while at < size:
            start = os.lseek(file, at, os.SEEK_DATA)
            at = min(os.lseek(file, start, os.SEEK_HOLE), size)
            _add_data(file, start - start % _ALIGNED, at, buffer, found)
            if len(found) > _SEGMENTS:
                return None
    except OSError as error:
        if error.errno != errno.ENXIO:  # no data behind `at`
            return None
    if sum(length for _, length in found) + _HOLES > size:
        return None
    if not found or sum(found[-1]) < size:
        found.append((size, 0))  # where the file ends, as GNU tar says it
    return found


def _add_data(file: int, start: int, end: int, buffer: memoryview, found: list[tuple[int, int]]) -> None:
    while start < end:
        count = os.preadv(file, [buffer[: min(len(buffer), end - start)]], start)
        if not count:
            return
        for at in range(0, count, _ALIGNED):
            block = buffer[at : min(at + _ALIGNED, count)]
            if block == _ZEROS[: len(block)]:
                continue
            if found and sum(found[-1]) == start + at:
                found[-1] = (found[-1][0], found[-1][1] + len(block))
            else:
                found.append((start + at, len(block)))
        start += count


def _xattrs(where: bytes) -> dict[str, bytes]:
    return {
        name: os.getxattr(where, name, follow_symlinks=False)
        for name in os.listxattr(where, follow_symlinks=False)
        if not name.startswith(_LEFT_OUT)
    }


def _decimal(nanoseconds: int) -> bytes:
    """Seconds with a fraction, without zeros at its end."""
    whole, fraction = divmod(abs(nanoseconds), _SECOND)
    text = f"{whole}.{fraction:09}".rstrip("0")
    return (("-" if nanoseconds < 0 else "") + text).encode()


def _changed(path: bytes) -> Conflict:
    return Conflict(
        path.decode(errors="backslashreplace"), "changes while it is read", hint="see who writes into it"
    )
