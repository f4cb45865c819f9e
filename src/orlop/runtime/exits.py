"""How containers ended: conmon's exit files, and waiting for them without polling."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time

from orlop.kit.value import dataclass

_FIRST_LOOK, _LAST_LOOK = 1, 20  # milliseconds between two looks at the exit file
_IN_CREATE, _IN_MOVED_TO, _IN_CLOSE_WRITE = 0x100, 0x80, 0x8


@dataclass(frozen=True)
class Exit:
    """`code` is 128 + the signal's number where one killed it; `finished` in seconds since the epoch."""

    code: int
    finished: float
    oom_killed: bool = False


def read(folder: str, identifier: str) -> tuple[int, float] | None:
    """Code and time; None where it has not ended, or nobody saw how."""
    try:
        with open(os.path.join(folder, identifier), encoding="ascii", errors="replace") as stream:
            text = stream.read(32).strip()
            finished = os.fstat(stream.fileno()).st_mtime
    except OSError:
        return None
    return (int(text) & 0xFF if text.lstrip("-").isdigit() else 255), finished


def forget(folder: str, identifier: str) -> None:
    """Remove the exit file; absent is fine."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, identifier))


def watch(folder: str) -> int:
    """An inotify(7) descriptor, readable when a container of this node has ended. The caller closes it.

    Read it until BlockingIOError, then look with `read`: it says that something changed, not what.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify_init1")
    mask = _IN_CREATE | _IN_MOVED_TO | _IN_CLOSE_WRITE
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), mask) < 0:
        number = ctypes.get_errno()
        os.close(descriptor)
        raise OSError(number, f"inotify_add_watch: {os.strerror(number)}", folder)
    return descriptor


def drain(descriptor: int) -> None:
    """Take all events off a descriptor of `watch`."""
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4096):
            pass


def wait(folder: str, identifier: str, watched: list[int], timeout: float | None) -> bool:
    """Wait until the exit file is there (True); False after `timeout`, or once none of `watched` lives.

    `watched` are PIDs that end about when the file is written (the container and its conmon). Their ends are
    events; from the first one on, and where only one lives, the file is looked for. An inotify watch would
    say it a moment sooner, but closing one waits 15 ms for the kernel.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    poller = select.poll()
    pidfds: set[int] = set()
    pause = _FIRST_LOOK
    try:
        for pid in watched:
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
                pidfds.add(pidfd)
                poller.register(pidfd, select.POLLIN)
        all_live = len(pidfds) > 1
        while read(folder, identifier) is None:
            if not pidfds:
                return read(folder, identifier) is not None
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not all_live:
                left = pause if left is None else min(left, pause)
                pause = min(2 * pause, _LAST_LOOK)
            ready = poller.poll(left)
            for descriptor, _ in ready:
                all_live = False
                poller.unregister(descriptor)
                pidfds.discard(descriptor)
                os.close(descriptor)
            if not ready and deadline is not None and time.monotonic() >= deadline:
                return read(folder, identifier) is not None
        return True
    finally:
        for descriptor in pidfds:
            os.close(descriptor)
