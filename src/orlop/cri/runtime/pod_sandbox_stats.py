"""PodSandboxStats: what one pod uses."""

from __future__ import annotations

from orlop.cri import usage
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service


def pod_sandbox_stats(service: Service, request: pb.PodSandboxStatsRequest) -> pb.PodSandboxStatsResponse:
    """Raises NotFound."""
    sandbox = service.sandbox(request.pod_sandbox_id)
    containers = service.containers(sandbox.id)
    return pb.PodSandboxStatsResponse(stats=usage.of_sandbox(service, sandbox, containers))
