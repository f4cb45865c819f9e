"""Containers as they are."""

from __future__ import annotations

from orlop.cri.listing import fitted
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import filters


def list_containers(service: Service, request: pb.ListContainersRequest) -> pb.ListContainersResponse:
    """Those that pass the filter. A list of the same items as before is the same message."""
    found = containers(service, request.filter)
    key = request.filter.SerializeToString(deterministic=True)
    return service.listing.answer(key, found, lambda: pb.ListContainersResponse(containers=fitted(found)))


def containers(service: Service, wanted: pb.ContainerFilter) -> list[pb.Container]:
    """For StreamContainers too."""
    found = service.listing.containers()
    if not wanted.ByteSize():
        return [item for _, item in found]
    passed = {container.id for container in filters.containers([each for each, _ in found], wanted)}
    return [item for _, item in found if item.id in passed]
