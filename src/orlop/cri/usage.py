"""Readings for the stats and metrics of the interface: which containers, how old a disk's count may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import stats as translate
from orlop.kit import limits
from orlop.pod.model import Container, Sandbox
from orlop.pod.stats import Stats, container_stats, sandbox_stats


def of_container(service: Service, container: Container) -> pb.ContainerStats:
    """The stats of one container at this moment."""
    return _translated(
        service, container, container_stats(service.pods, container, disk_age=limits.CRI_DISK_AGE)
    )


def of_sandbox(service: Service, sandbox: Sandbox, containers: list[Container]) -> pb.PodSandboxStats:
    """The stats of one pod at this moment; `containers` are all of its own."""
    reading = sandbox_stats(service.pods, sandbox, containers=containers, disk_age=limits.CRI_DISK_AGE)
    running = [
        _translated(service, container, each)
        for container, each in zip(containers, reading.containers, strict=True)
        if container.state == "running"
    ]
    cores = service.rates.nano_cores(sandbox.id, reading.time, reading.usage.cpu, since=sandbox.created)
    return translate.sandbox(sandbox, reading, cores, running)


def by_sandbox(containers: Iterable[Container]) -> dict[str, list[Container]]:
    """Containers by the ID of their pod."""
    found: dict[str, list[Container]] = defaultdict(list)
    for container in containers:
        found[container.sandbox_id].append(container)
    return found


def _translated(service: Service, container: Container, reading: Stats) -> pb.ContainerStats:
    cores = service.rates.nano_cores(container.id, reading.time, reading.usage.cpu, since=container.started)
    return translate.container(container, reading, cores, mountpoint=service.pods.node.root)
