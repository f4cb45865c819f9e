"""Start a container."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.kit.errors import InvalidInput
from orlop.pod.start_container import start_container as start


def start_container(service: Service, request: pb.StartContainerRequest) -> pb.StartContainerResponse:
    """It runs afterwards. Raises NotFound, Conflict (it has ended), InvalidInput (no such program)."""
    identifier = service.container_id(required(request))
    try:
        start(service.pods, identifier)
    except InvalidInput:
        container = service.container(identifier)
        if container.state == "exited":  # no such program, which leaves no exit file
            service.observer.ended(identifier, exit_code=container.exit_code, oom_killed=False)
            service.events.publish(identifier, "stopped")
        raise
    service.events.publish(identifier, "started")
    return pb.StartContainerResponse()
