"""Whether a diff's folder is still what was verified when it was unpacked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from zlib import crc32 as _zlib_crc32

from orlop.kit import kernel, limits
from orlop.kit.files import read_bounded
from orlop.store.unpack.listing import Path, Record, unpacked

try:
    from isal.isal_zlib import crc32 as _crc32
except ImportError:
    _crc32 = _zlib_crc32

_LISTING_SIZE = 1 * limits.GIB
_PIECE = 1 * limits.MIB
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def damage(diff: str, listing: str) -> list[str]:
    """What differs, in words; empty where all is as it was."""
    if not os.path.isdir(diff):
        return ["its folder is absent"]
    try:
        wanted = unpacked(read_bounded(listing, _LISTING_SIZE))
    except (OSError, ValueError):
        return ["its listing is absent or damaged"]
    try:
        root = os.open(diff, _FOLDER | os.O_CLOEXEC)
    except OSError:
        return ["its folder is absent"]
    found = []
    try:
        for path, folder, name in _walk(root):
            try:
                record = wanted.pop(path, None)
                why = "is not from the image" if record is None else _difference(folder, name, record)
            except OSError as error:
                why = f"cannot be read ({error.strerror})"
            if why:
                found.append(f"{_shown(path)} {why}")
    except OSError as error:
        found.append(f"cannot be read ({error.strerror})")
    finally:
        os.close(root)
    return found + [f"{_shown(path)} is absent" for path in wanted]


def _walk(root: int) -> Iterator[tuple[Path, int, bytes]]:
    """Every name below: its path, its folder's descriptor (valid until the next step), its name there."""
    yield (), root, b"."
    pending: list[Path] = [()]
    while pending:
        above = pending.pop()
        folder = kernel.openat2(root, b"/".join(above), _FOLDER, resolve=_BENEATH) if above else os.dup(root)
        try:
            with os.scandir(folder) as entries:
                names = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
            for name, is_folder in names:
                path = (*above, name)
                if is_folder:
                    pending.append(path)
                yield path, folder, name
        finally:
            os.close(folder)


def _difference(folder: int, name: bytes, wanted: Record) -> str:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    where = os.fsencode(f"/proc/self/fd/{folder}/") + name
    found = Record.of(status, _xattrs(where))
    if stat.S_IFMT(found.mode) != stat.S_IFMT(wanted.mode):
        return "is of another kind"
    if found.size != wanted.size:
        return f"has {found.size} bytes, not {wanted.size}"
    if (found.mode, found.uid, found.gid) != (wanted.mode, wanted.uid, wanted.gid):
        return "has another owner or mode"
    if found.mtime != wanted.mtime or found.device != wanted.device:
        return "was changed"
    if found.xattrs != tuple(sorted(wanted.xattrs)):
        return "has other extended attributes"
    if stat.S_ISLNK(found.mode):
        return "" if os.readlink(name, dir_fd=folder) == wanted.target else "leads elsewhere"
    if (
        stat.S_ISREG(found.mode)
        and wanted.checksum is not None
        and _checksum(folder, name) != wanted.checksum
    ):
        return "has another content"
    return ""


def _xattrs(where: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (name, os.getxattr(where, name, follow_symlinks=False))
        for name in sorted(os.listxattr(where, follow_symlinks=False))
    )


def _checksum(folder: int, name: bytes) -> int:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        checksum = 0
        while piece := os.read(file, _PIECE):
            checksum = _crc32(piece, checksum)
        return checksum
    finally:
        os.close(file)


def _shown(path: Path) -> str:
    return b"/".join(path).decode(errors="backslashreplace") or "the root"
