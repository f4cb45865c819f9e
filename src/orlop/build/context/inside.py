"""Paths within a root, resolved by descriptors: links count from that root, and `..` ends at it.

Parts are opened one by one with O_NOFOLLOW below the folder before; a link is read and followed by name. So
neither a link nor a rename meanwhile leads outside (CVE-2018-15664, CVE-2024-9407 and their like).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator

from orlop.kit import kernel, limits
from orlop.kit.errors import InvalidInput

Parts = tuple[str, ...]

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BENEATH = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_LINKS = 40  # followed in one path, as the kernel does


def parts_of(path: str) -> list[str]:
    """Names between slashes, without empty ones and `.`; `..` stays."""
    return [part for part in path.split("/") if part not in ("", ".")]


def cleaned(path: str) -> Parts:
    """As Go's path.Clean of "/" + path: `..` is taken away by name, before any link is looked at."""
    done: list[str] = []
    for part in parts_of(path):
        if part != "..":
            done.append(part)
        elif done:
            done.pop()
    return tuple(done)


class Missing(Exception):
    """A part is not there. `real` is where it would be."""

    def __init__(self, real: Parts) -> None:
        super().__init__("/".join(real))
        self.real = real


def resolve(root: int, path: str, label: str, *, make: Callable[[int, str], None] | None = None) -> Parts:
    """The real path, free of links, that `path` leads to within the folder `root`.

    The last part need not be there (its folder must): see `status`. `make` is called with (folder, name) for
    a folder that lacks; without it Missing is raised.
    Raises InvalidInput (a part is no folder, links without end, a path beyond all bounds).
    """
    if len(path) > limits.PATH_LENGTH or "\0" in path:
        raise InvalidInput(f"{label}: {path[:100]!r}", "is no usable path", hint="give a shorter one")
    pending = parts_of(path)[::-1]
    must_be_folder = path.endswith("/")
    with _Stack(root) as stack:
        links = 0
        while pending:
            name = pending.pop()
            if name == "..":
                stack.up()
                continue
            last = not pending
            try:
                mode = os.stat(name, dir_fd=stack.here, follow_symlinks=False).st_mode
            except FileNotFoundError:
                if last and not (must_be_folder and make):
                    return (*stack.names, name)
                if make is None:
                    raise Missing((*stack.names, name)) from None
                make(stack.here, name)
                mode = stat.S_IFDIR
            except OSError as error:
                raise _unusable(label, (*stack.names, name), error) from error
            if stat.S_ISLNK(mode):
                links += 1
                target = os.readlink(name, dir_fd=stack.here)
                if links > _LINKS:
                    raise InvalidInput(f"{label}: {path}", "is a link to itself", hint="see: readlink -f")
                if target.startswith("/"):
                    stack.to_root()
                must_be_folder = must_be_folder or (last and target.endswith("/"))
                pending += parts_of(target)[::-1]
                continue
            if last and not stat.S_ISDIR(mode):
                _check_folder(must_be_folder, label, (*stack.names, name))
                return (*stack.names, name)
            stack.down(name, label)
        return tuple(stack.names)


def _check_folder(wanted: bool, label: str, real: Parts) -> None:
    if wanted:
        raise InvalidInput(f"{label}: /{'/'.join(real)}", "is no folder", hint="see what lies there")


class _Stack:
    """The folders from the root to where we are, open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: list[int] = []
        self.names: list[str] = []

    def __enter__(self) -> _Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.to_root()

    @property
    def here(self) -> int:
        return self._open[-1] if self._open else self._root

    def down(self, name: str, label: str) -> None:
        if len(self.names) >= limits.PATH_DEPTH:
            raise InvalidInput(label, "a path too deep", hint="see whether links turn in a circle")
        try:
            self._open.append(os.open(name, _STEP, dir_fd=self.here))
        except OSError as error:
            raise _unusable(label, (*self.names, name), error) from error
        self.names.append(name)

    def up(self) -> None:
        if self._open:
            os.close(self._open.pop())
            self.names.pop()

    def to_root(self) -> None:
        while self._open:
            self.up()


def _unusable(label: str, real: Parts, error: OSError) -> InvalidInput:
    hint = "see what lies there"
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        above = "/".join(real[:-1]) if error.errno == errno.ENOTDIR else "/".join(real)
        return InvalidInput(f"{label}: /{above}", "is no folder", hint=hint)
    return InvalidInput(f"{label}: /{'/'.join(real)}", str(error.strerror or error), hint=hint)


def status(root: int, real: Parts) -> os.stat_result | None:
    """lstat(2) of a real path; None where nothing is there."""
    if not real:
        return os.fstat(root)
    try:
        with parent(root, real) as folder:
            return os.stat(real[-1], dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_real(root: int, real: Parts, flags: int = FOLDER) -> int:
    """A descriptor of a real path. OSError (ELOOP, EXDEV) where a part became a link meanwhile."""
    if not real:
        return os.open(".", flags | os.O_CLOEXEC, dir_fd=root)
    return kernel.openat2(root, "/".join(real), flags, resolve=_BENEATH)


@contextlib.contextmanager
def parent(root: int, real: Parts) -> Iterator[int]:
    """The folder that a real path's last part lies in."""
    descriptor = open_real(root, real[:-1], os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
