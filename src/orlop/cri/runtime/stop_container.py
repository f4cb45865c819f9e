"""Stop a container."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required, seconds
from orlop.pod.stop_container import stop_container as stop


def stop_container(service: Service, request: pb.StopContainerRequest) -> pb.StopContainerResponse:
    """Its stop signal, `timeout` seconds, SIGKILL (at once with 0); one that has ended or is gone is fine."""
    found = service.find_container(required(request))
    if found:
        stop(service.pods, found, timeout=seconds(request.timeout))
        service.events.ended(found)
    return pb.StopContainerResponse()
