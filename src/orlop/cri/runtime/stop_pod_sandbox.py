"""Stop a pod."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.pod.stop_sandbox import stop_sandbox


def stop_pod_sandbox(service: Service, request: pb.StopPodSandboxRequest) -> pb.StopPodSandboxResponse:
    """Its containers are killed and its network is left; one that is stopped or gone is fine."""
    found = service.find_sandbox(required(request))
    if found:
        stop_sandbox(service.pods, found, timeout=0)
        service.events.ended_inside(found)
        service.events.publish(found, "stopped")
    return pb.StopPodSandboxResponse()
