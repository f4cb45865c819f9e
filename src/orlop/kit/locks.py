"""File locks (flock(2)): released by the kernel when their holder dies, so a kill -9 blocks nobody.

Each acquisition opens the file anew, so two threads of one process exclude each other as two processes do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from orlop.kit import limits
from orlop.kit.errors import TimedOut

_POLL_FIRST = 0.001
_POLL_MAX = 0.1


@contextlib.contextmanager
def hold(
    path: str,
    *,
    shared: bool = False,
    timeout: float = limits.LOCK_TIMEOUT,
    tick: Callable[[], None] | None = None,
    anew: bool = True,
) -> Iterator[int]:
    """Hold the lock `path` (made, with its folder, if absent) for the `with` block. It may be a folder.

    Yields its descriptor: a child that inherits it keeps the lock for as long as the child lives.

    `tick` is called between attempts and may raise to give up, as a cancelled task does.
    A file that was removed while it was waited for is made anew; without `anew` it is held as it is, and the
    caller looks. Raises TimedOut after `timeout` seconds.
    """
    descriptor = _acquire(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout, tick, anew=anew)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def attempt(path: str) -> Iterator[bool]:
    """Hold the lock if nobody else does: yields whether it is held."""
    descriptor = _open(path)
    try:
        yield _try(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Remove the lock's file if nobody holds it: whoever waits for it makes it anew."""
    with attempt(path) as held:
        if held:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _acquire(path: str, kind: int, timeout: float, tick: Callable[[], None] | None, *, anew: bool) -> int:
    descriptor = _open(path)
    deadline = time.monotonic() + timeout
    pause = _POLL_FIRST
    try:
        while not (held := _try(descriptor, kind)) or (anew and _removed(descriptor)):
            if held:
                os.close(descriptor)
                descriptor = _open(path)
                continue
            if tick is not None:
                tick()
            if time.monotonic() > deadline:
                raise TimedOut(
                    path,
                    f"another process holds this lock for more than {timeout:g} s",
                    hint=f"see who holds it with: fuser -v {path}",
                )
            time.sleep(pause)
            pause = min(pause * 2, _POLL_MAX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, flags, 0o600)
    except IsADirectoryError:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _removed(descriptor: int) -> bool:
    """Whether the file was unlinked before it could be locked: others lock a new one."""
    return os.fstat(descriptor).st_nlink == 0


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
