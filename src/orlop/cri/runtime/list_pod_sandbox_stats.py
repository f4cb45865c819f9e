"""ListPodSandboxStats: what the ready pods use."""

from __future__ import annotations

from orlop.cri import usage
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import filters


def list_pod_sandbox_stats(
    service: Service, request: pb.ListPodSandboxStatsRequest
) -> pb.ListPodSandboxStatsResponse:
    return pb.ListPodSandboxStatsResponse(stats=listed(service, request.filter))


def listed(service: Service, asked: pb.PodSandboxStatsFilter) -> list[pb.PodSandboxStats]:
    """Of those that the filter lets through."""
    containers = usage.by_sandbox(service.containers())
    sandboxes = filters.sandbox_stats(service.sandboxes(), asked)
    return [usage.of_sandbox(service, sandbox, containers.get(sandbox.id, [])) for sandbox in sandboxes]
