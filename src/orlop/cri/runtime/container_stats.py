"""ContainerStats: what one container uses."""

from __future__ import annotations

from orlop.cri import usage
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service


def container_stats(service: Service, request: pb.ContainerStatsRequest) -> pb.ContainerStatsResponse:
    """Raises NotFound."""
    container = service.container(request.container_id)
    return pb.ContainerStatsResponse(stats=usage.of_container(service, container))
