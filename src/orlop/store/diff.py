"""The paths in which two file systems differ."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from orlop.kit import kernel, limits
from orlop.kit.database import Database
from orlop.kit.value import dataclass
from orlop.store import images, leases, overlay
from orlop.store.errors import RootfsUnknown, explained
from orlop.store.layout import Layout
from orlop.store.view import layers_of, merged

ADDED, CHANGED, DELETED = "added", "changed", "deleted"
_PIECE = 1 * limits.MIB
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
}
_LEFT_OUT = ("trusted.overlay.", "user.overlay.")


@dataclass(frozen=True)
class Difference:
    """`path` begins with a slash; bytes that are no UTF-8 are written with backslashes.

    `kind` is of what is there now (of what was there, where it is deleted): "file", "folder", "link",
    "device", "pipe" or "socket". `size`, `before`: bytes of files now and before. `what` names what changed:
    "kind", "content", "mode", "owner", "time", "attributes", "target", "device".
    """

    path: str
    change: str
    kind: str
    size: int
    before: int
    what: tuple[str, ...] = ()


def diff(
    layout: Layout, database: Database, name: str, other: str, tick: Callable[[], None]
) -> list[Difference]:
    """See `Store.diff`."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(leases.hold(layout))
        layers = _layers(database, name)
        if other:
            before, after = layers, _layers(database, other)
        else:
            before, after = layers[:-1], layers
        old = stack.enter_context(merged(layout, database, before))
        new = stack.enter_context(merged(layout, database, after))
        return explained(differences)(old, new, tick)


def diff_rootfs(
    layout: Layout, database: Database, container_id: str, tick: Callable[[], None]
) -> list[Difference]:
    """See `Store.diff_rootfs`."""
    rows = database.query("SELECT image_id FROM rootfs WHERE container_id = ?", (container_id,))
    if not rows:
        raise RootfsUnknown(container_id, "has no file system in the store", hint="see: orlop ps --all")
    with contextlib.ExitStack() as stack:
        stack.enter_context(leases.hold(layout))
        layers = _layers(database, rows[0]["image_id"])
        old = stack.enter_context(merged(layout, database, layers))
        path = layout.merged(container_id)
        if overlay.is_mounted(path) and not os.path.isdir(layout.mapped(container_id)):
            new = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, new)
        else:
            upper = f"{layout.rootfs(container_id)}/upper"
            new = stack.enter_context(merged(layout, database, layers, top=upper))
        return explained(differences)(old, new, tick)


def _layers(database: Database, name: str) -> list[str]:
    """Chain IDs, bottom first, that stay for as long as the lease is held."""
    image_id = images.resolve(database, name)[0]
    leases.use(database, image_id)
    return layers_of(database, image_id)


def differences(old: int, new: int, tick: Callable[[], None] = lambda: None) -> list[Difference]:
    """Between what is below two folders (descriptors), in the order of paths. Times of folders do not count,
    since whatever is made in one changes them. Raises OSError.
    """
    return sorted(_Comparison(old, new, tick).run(), key=lambda found: found.path)


class _Comparison:
    def __init__(self, old: int, new: int, tick: Callable[[], None]) -> None:
        self._old = old
        self._new = new
        self._tick = tick
        self._buffers = memoryview(bytearray(_PIECE)), memoryview(bytearray(_PIECE))

    def run(self) -> Iterator[Difference]:
        pending = [(b"", True, True)]
        if what := self._what(b".", self._old, self._new):
            yield Difference("/", CHANGED, "folder", 0, 0, what)
        while pending:
            self._tick()
            path, in_old, in_new = pending.pop()
            with contextlib.ExitStack() as stack:
                try:
                    old = _opened(stack, self._old, path) if in_old else -1
                    new = _opened(stack, self._new, path) if in_new else -1
                except FileNotFoundError:  # a container removed it while we looked
                    continue
                for name in sorted({*_names(old), *_names(new)}):
                    below = path + b"/" + name if path else name
                    try:
                        found, was_folder, is_folder = self._compare(below, name, old, new)
                    except FileNotFoundError:
                        continue
                    if found is not None:
                        yield found
                    if was_folder or is_folder:
                        pending.append((below, was_folder, is_folder))

    def _compare(self, path: bytes, name: bytes, old: int, new: int) -> tuple[Difference | None, bool, bool]:
        """What differs at this name, and whether it was and is a folder."""
        before, after = _status(old, name), _status(new, name)
        was_folder = before is not None and stat.S_ISDIR(before.st_mode)
        is_folder = after is not None and stat.S_ISDIR(after.st_mode)
        shown = "/" + path.decode(errors="backslashreplace")
        sizes = _size(after), _size(before)
        found = None
        if before is None and after is not None:
            found = Difference(shown, ADDED, _kind(after), *sizes)
        elif after is None and before is not None:
            found = Difference(shown, DELETED, _kind(before), *sizes)
        elif after is not None and (what := self._what(name, old, new)):
            found = Difference(shown, CHANGED, _kind(after), *sizes, what)
        return found, was_folder, is_folder

    def _what(self, name: bytes, old: int, new: int) -> tuple[str, ...]:
        before = os.stat(name, dir_fd=old, follow_symlinks=False)
        after = os.stat(name, dir_fd=new, follow_symlinks=False)
        kind = stat.S_IFMT(after.st_mode)
        if stat.S_IFMT(before.st_mode) != kind:
            return ("kind",)
        found = []
        if kind == stat.S_IFREG and not self._same_content(name, old, new, before.st_size, after.st_size):
            found.append("content")
        if stat.S_IMODE(before.st_mode) != stat.S_IMODE(after.st_mode):
            found.append("mode")
        if (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
            found.append("owner")
        if kind != stat.S_IFDIR and before.st_mtime_ns != after.st_mtime_ns:
            found.append("time")
        if _xattrs(old, name) != _xattrs(new, name):
            found.append("attributes")
        if kind == stat.S_IFLNK and os.readlink(name, dir_fd=old) != os.readlink(name, dir_fd=new):
            found.append("target")
        if kind in (stat.S_IFCHR, stat.S_IFBLK) and before.st_rdev != after.st_rdev:
            found.append("device")
        return tuple(found)

    def _same_content(self, name: bytes, old: int, new: int, before: int, after: int) -> bool:
        if before != after:
            return False
        if not before:
            return True
        with contextlib.ExitStack() as stack:
            files = []
            for folder in (old, new):
                files.append(os.open(name, _FILE, dir_fd=folder))
                stack.callback(os.close, files[-1])
            first, second = self._buffers
            at = 0
            while at < before:
                self._tick()
                one = os.preadv(files[0], [first], at)
                two = os.preadv(files[1], [second[:one]], at)
                if not one or one != two or first[:one] != second[:two]:
                    return False
                at += one
        return True


def _opened(stack: contextlib.ExitStack, root: int, path: bytes) -> int:
    folder = kernel.openat2(root, path, _FOLDER, resolve=_BENEATH) if path else os.dup(root)
    stack.callback(os.close, folder)
    return folder


def _names(folder: int) -> list[bytes]:
    if folder < 0:
        return []
    with os.scandir(folder) as entries:
        return [os.fsencode(entry.name) for entry in entries]


def _status(folder: int, name: bytes) -> os.stat_result | None:
    if folder < 0:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return None


def _kind(status: os.stat_result) -> str:
    return _KINDS[stat.S_IFMT(status.st_mode)]


def _size(status: os.stat_result | None) -> int:
    return status.st_size if status is not None and stat.S_ISREG(status.st_mode) else 0


def _xattrs(folder: int, name: bytes) -> dict[str, bytes]:
    where = os.fsencode(f"/proc/self/fd/{folder}/") + name
    return {
        key: os.getxattr(where, key, follow_symlinks=False)
        for key in os.listxattr(where, follow_symlinks=False)
        if not key.startswith(_LEFT_OUT)
    }
