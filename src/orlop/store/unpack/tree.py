"""Writing below one folder, and nowhere else.

Every parent is opened with openat2 RESOLVE_BENEATH | NO_SYMLINKS from the root's descriptor; links in a path
are followed here, by name, so that one that leads out is seen and refused instead of being followed. Every
leaf is made new (O_EXCL, O_NOFOLLOW): nothing is ever opened for writing that was there before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable

from orlop.kit import kernel, limits
from orlop.store.errors import HostileArchive

_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_OPEN_FOLDERS = 128  # parents kept open: neighbours in an archive share them
LINKS = 40  # followed in one path, as the kernel does

Path = tuple[bytes, ...]


class Tree:
    """The folder `root`, written by this object alone. Close it.

    `made_folder` is told of every folder that comes to be because something lies in it.
    """

    def __init__(self, root: str, subject: str, made_folder: Callable[[int, Path], None]) -> None:
        self._subject = subject
        self._made_folder = made_folder
        self.root = os.open(root, _FOLDER | os.O_CLOEXEC)
        self._open: OrderedDict[Path, tuple[int, Path]] = OrderedDict()

    def close(self) -> None:
        self.forget()
        os.close(self.root)

    def forget(self) -> None:
        """Paths may mean something else from now on: resolve them anew."""
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def parent(self, path: Path) -> tuple[int, Path]:
        """The folder `path`, made with its parents where absent: its descriptor (owned here, valid until the
        next call) and its real path, which has no links in it. Raises HostileArchive.
        """
        if not path:
            return self.root, path
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        real = self._resolved(path)
        descriptor = self.open_folder(real)
        self._open[path] = descriptor, real
        if len(self._open) > _OPEN_FOLDERS:
            os.close(self._open.popitem(last=False)[1][0])
        return descriptor, real

    def open_folder(self, real: Path) -> int:
        """A new descriptor of the folder at a path without links; the caller closes it."""
        if not real:
            return os.dup(self.root)
        return kernel.openat2(self.root, b"/".join(real), _FOLDER, resolve=_BENEATH)

    def remove(self, folder: int, name: bytes, *, is_folder: bool) -> None:
        """Remove what is there, with all below it."""
        self.forget_below(folder)
        if is_folder:
            shutil.rmtree(os.fsdecode(name), dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)

    def forget_below(self, keep: int) -> None:
        """As `forget`, but the descriptor `keep` stays valid: its caller is at work there."""
        kept = [(path, entry) for path, entry in self._open.items() if entry[0] == keep]
        for descriptor, _ in self._open.values():
            if descriptor != keep:
                os.close(descriptor)
        self._open.clear()
        self._open.update(kept)

    def _resolved(self, path: Path) -> Path:
        """Follow `path` from the root by name, making folders that are absent."""
        done: list[bytes] = []
        known = self._open.get(path[:-1]) if len(path) > 1 else None
        pending = list(reversed(path))
        here = self.root
        if known is not None:
            here, real = known
            done, pending = list(real), [path[-1]]
        links = 0
        owned = -1
        try:
            while pending:
                name = pending.pop()
                if name == b"..":
                    if not done:
                        raise self._leaves(path)
                    done.pop()
                    following = self.open_folder(tuple(done))
                else:
                    target = self._link_at(here, name, tuple(done))
                    if target is not None:
                        links += 1
                        if links > LINKS or target.startswith(b"/"):
                            raise self._leaves(path)
                        pending += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
                        continue
                    following = os.open(name, _FOLDER | os.O_CLOEXEC, dir_fd=here)
                    done.append(name)
                if len(done) > limits.PATH_DEPTH:
                    raise self._leaves(path)
                if owned >= 0:
                    os.close(owned)
                here = owned = following
        finally:
            if owned >= 0:
                os.close(owned)
        return tuple(done)

    def _link_at(self, folder: int, name: bytes, above: Path) -> bytes | None:
        """The target where `name` is a symbolic link; None for a folder, made now if it was absent."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            mode, device = status.st_mode, status.st_rdev
        except FileNotFoundError:
            mode = device = 0
        if stat.S_ISDIR(mode):
            return None
        if stat.S_ISLNK(mode):
            return os.readlink(name, dir_fd=folder)
        if stat.S_ISCHR(mode) and device == 0:  # a whiteout of this layer: an opaque folder takes its place
            os.unlink(name, dir_fd=folder)
        elif mode:
            raise HostileArchive(
                self._subject,
                f"its archive puts something below {shown((*above, name))}, which is no folder",
                hint="do not trust this image",
            )
        os.mkdir(name, 0o755, dir_fd=folder)
        with contextlib.closing(_Descriptor(name, folder)) as made:
            os.fchmod(made.number, 0o755)  # whatever the umask
            self._made_folder(made.number, (*above, name))
        return None

    def _leaves(self, path: Path) -> HostileArchive:
        return HostileArchive(
            self._subject,
            f"its archive writes through a link that leaves the root: {shown(path)}",
            hint="do not trust this image",
        )


def shown(path: Path) -> str:
    return repr(b"/".join(path)[:200].decode(errors="backslashreplace"))


class _Descriptor:
    def __init__(self, name: bytes, folder: int) -> None:
        self.number = os.open(name, _FOLDER | os.O_CLOEXEC, dir_fd=folder)

    def close(self) -> None:
        os.close(self.number)
