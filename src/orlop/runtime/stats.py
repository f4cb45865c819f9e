"""What containers use: the kernel's counts, with the names that Kubernetes gives them."""

from __future__ import annotations

import time

from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.cgroups.port import Cgroups


@dataclass(frozen=True)
class ContainerStats:
    """Of one container or of a whole pod at one instant; bytes, nanoseconds, counts. A limit of 0: none."""

    id: str
    time: float  # seconds since the epoch
    cpu: int
    memory: int
    working_set: int
    rss: int
    memory_limit: int
    pids: int
    pids_limit: int
    throttled: int = 0
    major_faults: int = 0
    page_faults: int = 0


def stats(cgroups: Cgroups, identifier: str, cgroup: str) -> ContainerStats:
    """All zeros where the container has ended."""
    found = cgroups.stats(cgroup)
    return ContainerStats(id=identifier, time=time.time(), **vars(found))


def cpu_share(before: ContainerStats, after: ContainerStats) -> float:
    """Cores in use between two looks: 1.0 is one whole core."""
    passed = after.time - before.time
    return max(0.0, (after.cpu - before.cpu) / 1e9 / passed) if passed > 0 else 0.0
