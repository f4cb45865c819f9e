"""Containers as they are."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status


def list_containers(service: Service, request: pb.ListContainersRequest) -> pb.ListContainersResponse:
    """Those that pass the filter."""
    return pb.ListContainersResponse(containers=containers(service, request.filter))


def containers(service: Service, wanted: pb.ContainerFilter) -> list[pb.Container]:
    """For StreamContainers too."""
    found = []
    for container in service.pods.containers(labels=wanted.label_selector):
        item = status.container_item(container)
        if not item.id.startswith(wanted.id) or not item.pod_sandbox_id.startswith(wanted.pod_sandbox_id):
            continue
        if wanted.HasField("state") and item.state != wanted.state.state:
            continue
        found.append(item)
    return found
