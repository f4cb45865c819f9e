"""Whether a container ended for lack of memory.

conmon leaves a mark where it saw the event, and the container's group counts. systemd takes the group of a
container away when it is empty; then the slice above tells, which counts for all groups that were ever below
it. What those that are still there count is taken off, and a SIGKILL that was ours needs no other cause. What
remains uncertain: somebody else's SIGKILL, where a container of the same pod lacked memory and ended since.
"""

from __future__ import annotations

import contextlib
import os

from orlop.runtime import conmon

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.cgroups.port import Cgroups


def prepare(bundle: str, cgroups: Cgroups, cgroup: str) -> None:
    """Remember how often it happened before this container, whose group is systemd's."""
    with open(f"{bundle}/oom-before", "w", encoding="ascii") as stream:
        stream.write(str(_of_the_gone(cgroups, os.path.dirname(cgroup))))


def mark_killed(bundle: str) -> None:
    """Remember that its SIGKILL is ours; no error where it has no bundle any more."""
    with contextlib.suppress(FileNotFoundError), open(f"{bundle}/killed", "wb"):
        pass


def happened(bundle: str, cgroups: Cgroups, cgroup: str, *, systemd: bool, killed: bool) -> bool:
    """`killed`: by SIGKILL. The kernel counts too, since conmon may have read the exit before the event."""
    if os.path.exists(f"{bundle}/oom"):
        return True
    if not cgroup:
        return False
    if not systemd or cgroups.oom_kills(cgroup):
        return cgroups.oom_kills(cgroup) > 0
    if not killed or os.path.exists(f"{bundle}/killed"):
        return False
    return _of_the_gone(cgroups, os.path.dirname(cgroup)) > conmon.number(f"{bundle}/oom-before")


def _of_the_gone(cgroups: Cgroups, above: str) -> int:
    """Kills in groups below `above` that are not there any more."""
    there = sum(cgroups.oom_kills(f"{above}/{name}") for name in cgroups.children(above))
    return cgroups.oom_kills(above) - there
