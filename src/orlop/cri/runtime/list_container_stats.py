"""ListContainerStats: what the running containers use."""

from __future__ import annotations

from orlop.cri import usage
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import filters


def list_container_stats(
    service: Service, request: pb.ListContainerStatsRequest
) -> pb.ListContainerStatsResponse:
    return pb.ListContainerStatsResponse(stats=listed(service, request.filter))


def listed(service: Service, asked: pb.ContainerStatsFilter) -> list[pb.ContainerStats]:
    """Of those that the filter lets through."""
    running = filters.container_stats(service.containers(), asked)
    return [usage.of_container(service, container) for container in running]
