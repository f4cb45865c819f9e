"""Start a container."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.pod.start_container import start_container as start


def start_container(service: Service, request: pb.StartContainerRequest) -> pb.StartContainerResponse:
    """It runs afterwards. Raises NotFound, Conflict (it has ended)."""
    identifier = service.container_id(required(request))
    start(service.pods, identifier)
    service.events.publish(identifier, "started")
    return pb.StartContainerResponse()
