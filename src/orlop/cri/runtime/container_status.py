"""A container as it is."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status
from orlop.cri.translate.fields import required


def container_status(service: Service, request: pb.ContainerStatusRequest) -> pb.ContainerStatusResponse:
    """Raises NotFound."""
    container = service.container(required(request))
    return pb.ContainerStatusResponse(status=status.container_status(container))
