"""Folders for work under way, below root/tmp: gone after a crash, never another's.

The owner of a work folder holds flock(2) on the folder itself, so the kernel knows who lives. Whoever gets
that lock without having made the folder knows that its owner is dead, and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator

from orlop.kit import files
from orlop.kit.errors import Conflict
from orlop.store.errors import explained

_THREADS = 3  # that remove beside the caller's own
_WORTH_A_THREAD = 8  # entries


@contextlib.contextmanager
def work_folder(tmp: str) -> Iterator[str]:
    """A new folder below `tmp` for the `with` block, removed with all below it at the end."""
    path, descriptor = _claim(tmp)
    try:
        yield path
    finally:
        try:
            _remove(path)
        finally:
            os.close(descriptor)


def discard(tmp: str, path: str) -> None:
    """Remove the tree `path`: out of sight by one rename first, so that no half of it is ever seen."""
    with work_folder(tmp) as work, contextlib.suppress(FileNotFoundError):
        os.rename(path, f"{work}/gone")


def dead(tmp: str) -> list[str]:
    """The work folders whose owners are dead."""
    found = []
    for name in os.listdir(tmp) if os.path.isdir(tmp) else ():
        with _owned(f"{tmp}/{name}") as ours:
            if ours:
                found.append(f"{tmp}/{name}")
    return found


@explained
def sweep(tmp: str) -> int:
    """Remove the work folders whose owners are dead; returns how many there were."""
    count = 0
    for name in os.listdir(tmp) if os.path.isdir(tmp) else ():
        with _owned(f"{tmp}/{name}") as ours:
            if ours:
                _remove(f"{tmp}/{name}")
                count += 1
    return count


@explained
def _remove(path: str) -> None:
    """Remove a work folder of any depth: a container can nest folders deeper than a recursion or a path goes.

    Each folder within is moved up to `path` itself first, so that no path is ever longer than two names.
    Raises Conflict where something is mounted below.
    """
    try:
        while True:
            with os.scandir(path) as entries:
                found = list(entries)
            if not found:
                break
            _in_threads(found, lambda entry: _take(entry, path))
        os.rmdir(path)
    except FileNotFoundError:
        if os.path.lexists(path):
            _remove(path)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Conflict(path, "something is mounted below it", hint=f"see: findmnt -R {path}") from error
        raise


def _take(entry: os.DirEntry[str], path: str) -> None:
    """Remove what is in `path`: of a folder the files, while the folders in it are moved up."""
    if not entry.is_dir(follow_symlinks=False):
        os.unlink(entry.path)
        return
    with os.scandir(entry.path) as below:
        for inner in below:
            if inner.is_dir(follow_symlinks=False):
                os.rename(inner.path, f"{path}/{files.unique()}")
            else:
                os.unlink(inner.path)
    os.rmdir(entry.path)


def _in_threads(entries: list[os.DirEntry[str]], take: Callable[[os.DirEntry[str]], None]) -> None:
    """Several at once where it is worth it: the kernel waits for the disk in each unlink(2)."""
    pending = iter(entries)
    lock = threading.Lock()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while not failed:
                with lock:
                    entry = next(pending, None)
                if entry is None:
                    return
                take(entry)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(min(_THREADS, len(entries) // _WORTH_A_THREAD))]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@explained
def _claim(tmp: str) -> tuple[str, int]:
    while True:
        path = f"{tmp}/{files.unique()}"
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            os.makedirs(tmp, mode=0o700, exist_ok=True)
            continue
        # A sweeper may come between mkdir and flock and take the folder for a dead one: then make another.
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink > 0:
                return path, descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)


@contextlib.contextmanager
def _owned(path: str) -> Iterator[bool]:
    """Whether the work folder has no living owner: then it is ours for the `with` block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
