"""Remove a container."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.pod.remove_container import remove_container as remove


def remove_container(service: Service, request: pb.RemoveContainerRequest) -> pb.RemoveContainerResponse:
    """It is gone afterwards, killed where it ran; one that is gone is fine."""
    found = service.find_container(required(request))
    if found:
        with service.events.deleting(found):
            remove(service.pods, found, force=True)
    return pb.RemoveContainerResponse()
