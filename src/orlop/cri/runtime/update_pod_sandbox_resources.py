"""Write down, and carry out, what a pod as a whole may use."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import resources
from orlop.cri.translate.fields import required
from orlop.pod.update_sandbox import update_sandbox


def update_pod_sandbox_resources(
    service: Service, request: pb.UpdatePodSandboxResourcesRequest
) -> pb.UpdatePodSandboxResourcesResponse:
    """Raises NotFound, Conflict (it is not ready), InvalidInput."""
    identifier = service.sandbox_id(required(request))
    subject = f"pod sandbox {identifier[:12]}"
    update_sandbox(
        service.pods,
        identifier,
        resources.resources(request.resources, subject),
        resources.resources(request.overhead, subject),
    )
    return pb.UpdatePodSandboxResourcesResponse()
