"""What a list is asked for: IDs (or their beginnings), labels and states, all of which have to hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import status
from orlop.pod.model import Container, Sandbox


def sandboxes(found: Iterable[Sandbox], asked: pb.PodSandboxFilter) -> list[Sandbox]:
    """Those that the filter of ListPodSandbox lets through; an empty filter lets all."""
    state = asked.state.state if asked.HasField("state") else None
    labels = dict(asked.label_selector)
    return [
        sandbox
        for sandbox in found
        if sandbox.id.startswith(asked.id)
        and state in (None, status.sandbox_state(sandbox.state))
        and has_labels(sandbox.config.labels, labels)
    ]


def containers(found: Iterable[Container], asked: pb.ContainerFilter) -> list[Container]:
    """Those that the filter of ListContainers lets through; an empty filter lets all."""
    state = asked.state.state if asked.HasField("state") else None
    labels = dict(asked.label_selector)
    return [
        container
        for container in found
        if container.id.startswith(asked.id)
        and container.sandbox_id.startswith(asked.pod_sandbox_id)
        and state in (None, status.container_state(container.state))
        and has_labels(container.config.labels, labels)
    ]


def container_stats(found: Iterable[Container], asked: pb.ContainerStatsFilter) -> list[Container]:
    """Those whose stats ListContainerStats is asked for: of the running ones."""
    labels = dict(asked.label_selector)
    return [
        container
        for container in found
        if container.state == "running"
        and container.id.startswith(asked.id)
        and container.sandbox_id.startswith(asked.pod_sandbox_id)
        and has_labels(container.config.labels, labels)
    ]


def sandbox_stats(found: Iterable[Sandbox], asked: pb.PodSandboxStatsFilter) -> list[Sandbox]:
    """Those whose stats ListPodSandboxStats is asked for: of the ready ones."""
    labels = dict(asked.label_selector)
    return [
        sandbox
        for sandbox in found
        if sandbox.state == "ready"
        and sandbox.id.startswith(asked.id)
        and has_labels(sandbox.config.labels, labels)
    ]


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether every label that is wanted is there, with its value."""
    return all(labels.get(key) == value for key, value in wanted.items())
