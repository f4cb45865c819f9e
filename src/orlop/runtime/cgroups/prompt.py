"""Moves between cgroups without the wait for the kernel's grace period.

The first write to any `cgroup.procs` waits until every processor has passed a quiet state (an RCU grace
period, 7 to 20 ms on the machine of docs/benchmarks.md); those that follow within the next one do not. Such
writes stand between a `run` and its container: conmon's move, and crun's. So while Orlop still prepares the
container, a thread writes its own process's ID to the cgroup that it is in already: nothing moves, and the
wait is over when the moves that count begin.
"""

from __future__ import annotations

import os
import threading
import time

_AGAIN = 0.003  # seconds: well within a grace period
_LONGEST = 2.0
_SOON = 0.1  # from a pod to its first container


class PromptMoves:
    """`with PromptMoves():` moves are prompt inside, from soon after its beginning, for `seconds`.

    However many are inside, one thread of the process writes for all.
    """

    _lock = threading.Lock()
    _inside = 0
    _until = 0.0
    _expected = 0.0
    _writing = False

    def __init__(self, seconds: float = _LONGEST) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        with PromptMoves._lock:
            PromptMoves._inside += 1
            PromptMoves._until = max(PromptMoves._until, time.monotonic() + self._seconds)
            self._write()

    def __exit__(self, *_: object) -> None:
        with PromptMoves._lock:
            PromptMoves._inside -= 1

    @classmethod
    def expect(cls, seconds: float = _SOON) -> None:
        """Somebody will come in within `seconds`, most likely: moves are prompt for so long."""
        with cls._lock:
            cls._expected = max(cls._expected, time.monotonic() + seconds)
            cls._write()

    @classmethod
    def _write(cls) -> None:
        if not cls._writing:
            cls._writing = True
            threading.Thread(target=_keep, name="prompt moves", daemon=True).start()

    @classmethod
    def goes_on(cls) -> bool:
        """Whether the thread has to write once more; it ends where not."""
        with cls._lock:
            now = time.monotonic()
            cls._writing = now < cls._expected or (cls._inside > 0 and now < cls._until)
            return cls._writing


def _keep() -> None:
    try:
        procs = os.open(_own_procs(), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # no such tree, or not ours to write: moves take what they take
        procs = -1
    own = str(os.getpid()).encode()
    try:
        while PromptMoves.goes_on():
            if procs >= 0:
                try:
                    os.write(procs, own)
                except OSError:
                    os.close(procs)
                    procs = -1
            time.sleep(_AGAIN)
    finally:
        if procs >= 0:
            os.close(procs)


def _own_procs() -> str:
    """`cgroup.procs` of the group that this process is in, in the v2 tree (hybrid machines have it, too)."""
    with open("/proc/self/cgroup", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("0::"):
                path = line[3:].strip()
                tree = (
                    "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
                )
                return f"{tree}{path.rstrip('/')}/cgroup.procs"
    return ""
