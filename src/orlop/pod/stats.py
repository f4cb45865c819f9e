"""What containers and pods use at this moment."""

from __future__ import annotations

import os

from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass
from orlop.pod.context import Pods
from orlop.pod.model import Container, Sandbox
from orlop.runtime.cgroups.port import CgroupStats
from orlop.runtime.stats import Interface, interfaces

_REMEMBERED = 4096


@dataclass(frozen=True)
class Stats:
    """One reading, at `time` (seconds since the epoch).

    `usage` is the cgroup's (CPU in nanoseconds since the start, memory in bytes); `disk_bytes` and
    `disk_inodes` are what the container wrote into its root, read at `disk_time`. `received` and `sent` are
    the bytes of its network, which the containers of a pod share (the machine's, with its network), without
    loopback; `interfaces` has them one by one. `containers` are those of a pod.
    """

    id: str
    time: float
    usage: CgroupStats
    disk_bytes: int = 0
    disk_inodes: int = 0
    received: int = 0
    sent: int = 0
    interfaces: tuple[Interface, ...] = ()
    disk_time: float = 0.0
    containers: tuple[Stats, ...] = ()


def container_stats(
    pods: Pods, container: Container, *, detail: bool = False, disk_age: float = 0.0
) -> Stats:
    """Of one container; zeros where it does not run.

    `detail`: all of CgroupStats. What is on disk is counted by a walk through it, so whoever asks often says
    with `disk_age` how many seconds old that number may be.
    """
    disk_bytes, disk_inodes, disk_time = _disk(pods, container.id, disk_age)
    path = pods.cgroup(container.sandbox_id, container.id)
    links = interfaces(f"/proc/{container.pid}/net/dev") if container.pid else ()
    return Stats(
        container.id,
        pods.now(),
        pods.engine.cgroups.stats(path, detail=detail),
        disk_bytes,
        disk_inodes,
        *_sums(links),
        interfaces=links,
        disk_time=disk_time,
    )


def sandbox_stats(
    pods: Pods,
    sandbox: Sandbox | str,
    *,
    containers: list[Container] | None = None,
    detail: bool = False,
    disk_age: float = 0.0,
) -> Stats:
    """Of a pod (or the one of this ID) as a whole, what its containers wrote included.

    `containers` are the pod's where the caller has them already.
    """
    sandbox_id = sandbox if isinstance(sandbox, str) else sandbox.id
    if containers is None:
        containers = pods.containers(sandbox_id)
    each = tuple(
        container_stats(pods, container, detail=detail, disk_age=disk_age) for container in containers
    )
    pid = next((container.pid for container in containers if container.pid), 0)
    links = interfaces(f"/proc/{pid}/net/dev") if pid else _pinned(pods, sandbox_id)
    return Stats(
        sandbox_id,
        pods.now(),
        pods.engine.cgroups.stats(pods.cgroup(sandbox_id), detail=detail),
        sum(stats.disk_bytes for stats in each),
        sum(stats.disk_inodes for stats in each),
        *_sums(links),
        interfaces=links,
        disk_time=min((stats.disk_time for stats in each), default=0.0),
        containers=each,
    )


def written(pods: Pods, *, disk_age: float = 0.0) -> tuple[int, int]:
    """Bytes and inodes that all containers wrote, each counted at most `disk_age` seconds ago."""
    each = [_disk(pods, identifier, disk_age) for identifier in pods.store.rootfs_list()]
    return sum(disk[0] for disk in each), sum(disk[1] for disk in each)


def traffic(pid: int) -> tuple[int, int]:
    """Bytes received and sent in a process's network namespace, loopback aside; zeros where it is gone."""
    return _sums(interfaces(f"/proc/{pid}/net/dev"))


def _sums(links: tuple[Interface, ...]) -> tuple[int, int]:
    return sum(link.received for link in links), sum(link.sent for link in links)


def _pinned(pods: Pods, sandbox_id: str) -> tuple[Interface, ...]:
    """Of a pod in which nothing runs: seen from within its pinned namespace."""
    from orlop.pod import namespaces

    path = os.path.join(namespaces.folder(pods.node, sandbox_id), "net")
    if not os.path.exists(path):  # stopped, or the machine's network
        return ()
    found: list[tuple[Interface, ...]] = []
    try:
        namespaces.enter(path, lambda: found.append(interfaces("/proc/thread-self/net/dev")))
    except OSError:  # it goes away at this moment
        return ()
    return found[0] if found else ()


def _disk(pods: Pods, container_id: str, age: float) -> tuple[int, int, float]:
    """Bytes, inodes, and when they were counted."""
    now = pods.now()
    known = pods.disk_usage.get(container_id)
    if known is not None and age > 0 and now - known[2] <= age:
        return known
    try:
        found = (*pods.store.rootfs_usage(container_id), now)
    except OrlopError:  # it was removed meanwhile
        pods.disk_usage.pop(container_id, None)
        return 0, 0, now
    if age > 0:
        if len(pods.disk_usage) > _REMEMBERED:
            pods.disk_usage.clear()  # of containers that are gone, most of them
        pods.disk_usage[container_id] = found
    return found
