"""What containers and pods use at this moment."""

from __future__ import annotations

from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass
from orlop.pod.context import Pods
from orlop.pod.model import Container
from orlop.runtime.cgroups.port import CgroupStats


@dataclass(frozen=True)
class Stats:
    """One reading, at `time` (seconds since the epoch).

    `usage` is the cgroup's (CPU in nanoseconds since the start, memory in bytes); `disk_bytes` and
    `disk_inodes` are what the container wrote into its root. `received` and `sent` are the bytes of its
    network, which the containers of a pod share (the machine's, with its network), without loopback.
    """

    id: str
    time: float
    usage: CgroupStats
    disk_bytes: int = 0
    disk_inodes: int = 0
    received: int = 0
    sent: int = 0


def container_stats(pods: Pods, container: Container) -> Stats:
    """Of one container; zeros where it does not run."""
    try:
        disk = pods.store.rootfs_usage(container.id)
    except OrlopError:  # it was removed meanwhile
        disk = (0, 0)
    path = pods.cgroup(container.sandbox_id, container.id)
    return Stats(container.id, pods.now(), pods.engine.cgroups.stats(path), *disk, *traffic(container.pid))


def sandbox_stats(pods: Pods, sandbox_id: str) -> Stats:
    """Of a pod as a whole, what its containers wrote included."""
    containers = pods.containers(sandbox_id)
    written = [container_stats(pods, container) for container in containers]
    return Stats(
        sandbox_id,
        pods.now(),
        pods.engine.cgroups.stats(pods.cgroup(sandbox_id)),
        sum(stats.disk_bytes for stats in written),
        sum(stats.disk_inodes for stats in written),
        *traffic(next((each.pid for each in containers if each.pid), 0)),
    )


def traffic(pid: int) -> tuple[int, int]:
    """Bytes received and sent in a process's network namespace, loopback aside; zeros where it is gone."""
    try:
        with open(f"/proc/{pid}/net/dev", encoding="ascii", errors="replace") as stream:
            lines = [line.rpartition(":") for line in stream]
    except OSError:
        return 0, 0
    counts = [numbers.split() for name, _, numbers in lines if name and name.strip() != "lo"]
    return sum(int(each[0]) for each in counts), sum(int(each[8]) for each in counts)
