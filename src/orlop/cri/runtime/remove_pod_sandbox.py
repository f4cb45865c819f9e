"""Remove a pod."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.pod.remove_sandbox import remove_sandbox


def remove_pod_sandbox(service: Service, request: pb.RemovePodSandboxRequest) -> pb.RemovePodSandboxResponse:
    """It and its containers are gone afterwards, running ones killed; one that is gone is fine."""
    found = service.find_sandbox(required(request))
    if found:
        with service.events.deleting(found):
            remove_sandbox(service.pods, found)
    return pb.RemovePodSandboxResponse()
