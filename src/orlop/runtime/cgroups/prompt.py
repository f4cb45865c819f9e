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

_AGAIN = 0.003  # seconds: well within a grace period
_LONGEST = 2.0


class PromptMoves:
    """`with PromptMoves():` moves are prompt inside, from soon after its beginning, for two seconds."""

    def __enter__(self) -> None:
        self._ended = threading.Event()
        threading.Thread(target=self._keep, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _keep(self) -> None:
        try:
            procs = os.open(_own_procs(), os.O_WRONLY | os.O_CLOEXEC)
        except OSError:  # no such tree, or not ours to write: moves take what they take
            return
        try:
            own = str(os.getpid()).encode()
            for _ in range(int(_LONGEST / _AGAIN)):
                os.write(procs, own)
                if self._ended.wait(_AGAIN):
                    return
        except OSError:
            return
        finally:
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
