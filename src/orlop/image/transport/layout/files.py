"""Where a transport's files are, as a port: in a folder here, in an archive in tar_index.py."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from orlop.image.transport.layout.reading import Region
from orlop.kit import kernel
from orlop.kit.errors import Cancelled, Corrupt, Denied, NotFound, OrlopError, Unavailable


class Files(Protocol):
    """Files by name (`blobs/sha256/...`). For many threads. `subject` names the whole in errors."""

    @property
    def subject(self) -> str: ...

    def open(self, name: str) -> AbstractContextManager[Region]:
        """Raises NotFound, Corrupt (no plain file, or a link that leads out)."""

    def close(self) -> None:
        """What is open stays so until its `with` block ends. Idempotent."""


class FolderFiles:
    """Files below `path`; links that stay within it are followed. Raises NotFound."""

    def __init__(self, path: str, subject: str) -> None:
        self.subject = subject
        self._lock = threading.Lock()
        try:
            self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(subject, "no such folder", hint="see whether the path is right") from None
        except OSError as error:
            raise failed(subject, error) from error

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Region]:
        region = self._open(name)
        try:
            yield region
        finally:
            region.close()

    def close(self) -> None:
        with self._lock:
            if self._root >= 0:
                os.close(self._root)
                self._root = -1

    def _open(self, name: str) -> Region:
        with self._lock:
            if self._root < 0:
                raise Cancelled(self.subject, "was closed", hint="run the command again")
            try:
                found = open_plain(self._root, name, f"{self.subject}: {name}")
            except FileNotFoundError:
                raise NotFound(
                    f"{self.subject}: {name}", "no such file", hint="the copy is not whole"
                ) from None
            except OSError as error:
                raise failed(f"{self.subject}: {name}", error) from error
        return Region(found, 0, os.fstat(found).st_size)


def open_plain(root: int, name: str, subject: str) -> int:
    """A plain file below the folder `root`, for reading: looked at before it is opened, for opening a device
    does things. Raises Corrupt for anything else, OSError (EXDEV: a link leads out of the folder).
    """
    looked = _beneath(root, name)
    try:
        if not stat.S_ISREG(os.fstat(looked).st_mode):
            raise Corrupt(subject, "is no plain file", hint="do not trust this folder")
        return os.open(f"/proc/self/fd/{looked}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(looked)


def _beneath(root: int, name: str) -> int:
    resolve = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS
    while True:
        try:
            return kernel.openat2(root, name, os.O_PATH, resolve=resolve)
        except OSError as error:
            if error.errno != errno.EAGAIN:  # a rename raced with "..": the kernel asks to try again
                raise


def failed(subject: str, error: OSError) -> OrlopError:
    """What the kernel said, as one of ours."""
    cause = error.strerror or str(error)
    if error.errno in (errno.EXDEV, errno.ELOOP):
        return Corrupt(
            subject, "is a link that leads out of it", hint="copy it with its links resolved (cp -rL)"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Denied(subject, cause, hint="run as a user who may, or choose another path")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(subject, cause, hint="see whether the path is right")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(subject, cause, hint="make room on that file system")
    return Unavailable(subject, cause, hint="see whether that file system is in order")


@contextlib.contextmanager
def told(subject: str) -> Iterator[None]:
    """OSErrors of the `with` block become OrlopErrors about `subject`."""
    try:
        yield
    except OSError as error:
        raise failed(subject, error) from error
