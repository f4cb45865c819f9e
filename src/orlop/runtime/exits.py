"""How containers ended: conmon's exit files, and waiting for them without polling."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time

from orlop.kit.value import dataclass

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

    `watched` are PIDs that end at or after the exit (conmon; the container where its conmon is gone).
    """
    if read(folder, identifier) is not None:
        return True  # without a watch: closing one costs 15 ms
    deadline = None if timeout is None else time.monotonic() + timeout
    poller = select.poll()
    events = watch(folder)
    pidfds: set[int] = set()
    try:
        poller.register(events, select.POLLIN)
        for pid in watched:
            with contextlib.suppress(OSError):
                pidfd = os.pidfd_open(pid)
                pidfds.add(pidfd)
                poller.register(pidfd, select.POLLIN)
        while read(folder, identifier) is None:
            if not pidfds:
                return read(folder, identifier) is not None
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = poller.poll(left)
            if not ready:
                return read(folder, identifier) is not None
            for descriptor, _ in ready:
                if descriptor == events:
                    drain(events)
                else:
                    poller.unregister(descriptor)
                    pidfds.discard(descriptor)
                    os.close(descriptor)
        return True
    finally:
        for descriptor in (events, *pidfds):
            os.close(descriptor)
