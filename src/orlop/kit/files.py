"""Files that survive a power cut, and opens that cannot leave a root."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from orlop.kit import kernel
from orlop.kit.errors import Conflict, Corrupt, LimitExceeded

_PARTIAL = ".tmp"
_REMOVE_ATTEMPTS = 5  # of a folder that somebody writes into meanwhile


def write_atomic(path: str, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write `path` whole or not at all: temporary name, (fdatasync,) rename, (fsync of the folder).

    `durable=False` is for what a reboot forgets anyway (files below the state folder).
    """
    temporary = f"{path}.{unique()}{_PARTIAL}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            _write_all(descriptor, data)
            if durable:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if durable:
        sync_folder(os.path.dirname(path) or ".")


def remove_partial(folder: str, age: float) -> int:
    """Remove what killed writers left of `write_atomic` in `folder`, `age` seconds ago or more; how many."""
    removed = 0
    try:
        names = [name for name in os.listdir(folder) if name.endswith(_PARTIAL)]
    except FileNotFoundError:
        return 0
    for name in names:
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):
            if time.time() - os.stat(path, follow_symlinks=False).st_mtime >= age:
                os.unlink(path)
                removed += 1
    return removed


def read_bounded(path: str, limit: int) -> bytes:
    """The file's bytes. Raises LimitExceeded where it is longer than `limit`; OSError as open(2) does."""
    with open(path, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise LimitExceeded(path, f"is longer than {limit} bytes", hint="see whether this is the right file")
    return data


def sync_folder(path: str) -> None:
    """fsync(2) of a folder: the names in it are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str, mode: int = 0o700) -> str:
    """The folder exists afterwards, its parents included; returns `path`."""
    os.makedirs(path, mode=mode, exist_ok=True)
    return path


def remove_tree(path: str) -> None:
    """Remove a file, a link or a folder with all below it; absent is fine. Never crosses a mount.

    Raises Conflict where something is mounted at it or below it, or somebody keeps writing into it; what is
    behind the mount is untouched.
    """
    path = path.rstrip("/") or "/"
    try:
        parent = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _remove(parent, os.path.basename(path))
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EXDEV):
            raise Conflict(path, "something is mounted below it", hint=f"see: findmnt -R {path}") from error
        if error.errno == errno.ENOTEMPTY:
            raise Conflict(path, "somebody writes into it", hint=f"see who: fuser -v {path}") from error
        raise
    finally:
        os.close(parent)


def _remove(parent: int, name: str) -> None:
    """`name` in the folder `parent` is gone. EXDEV from openat2(2): it is a mount, bind mounts included."""
    for attempt in range(_REMOVE_ATTEMPTS):
        try:
            folder = kernel.openat2(
                parent,
                name,
                os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW,
                resolve=kernel.RESOLVE_NO_XDEV | kernel.RESOLVE_NO_SYMLINKS,
            )
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            return
        try:
            _empty(folder)
        finally:
            os.close(folder)
        try:
            os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or attempt + 1 == _REMOVE_ATTEMPTS:
                raise
        else:
            return


def _empty(folder: int) -> None:
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            _remove(folder, name)
            continue
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            pass
        except IsADirectoryError:  # it became one meanwhile
            _remove(folder, name)


def open_in_root(root: int, path: str, flags: int, *, mode: int = 0) -> int:
    """Open `path` as a process with `root` (a folder's descriptor) as its root would: links stay inside.

    Raises Corrupt where the path tries to leave through a magic link; OSError as openat2(2) does.
    """
    resolve = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
    while True:
        try:
            return kernel.openat2(root, path, flags, mode=mode, resolve=resolve)
        except OSError as error:
            if error.errno == errno.EAGAIN:  # a rename raced with "..": the kernel asks to try again
                continue
            if error.errno in (errno.ELOOP, errno.EXDEV):
                raise Corrupt(path, "leads out of its root", hint="do not trust this image") from error
            raise


@contextlib.contextmanager
def folder(path: str) -> Iterator[int]:
    """A folder's descriptor for the `with` block (O_PATH, no symbolic link as its last part)."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def unique() -> str:
    """A short name that no other file of this machine bears: random, so that crashes leave no collision."""
    return os.urandom(8).hex()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
