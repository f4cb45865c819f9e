"""Where to go for the streams of a running container."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import check_streams, required
from orlop.pod.exec_container import running


def attach(service: Service, request: pb.AttachRequest) -> pb.AttachResponse:
    """Whether there is a terminal the container knows best. Raises NotFound, Conflict, InvalidInput."""
    check_streams(request)
    identifier = service.container_id(required(request))
    running(service.pods, identifier)
    tty = service.container(identifier).config.terminal
    url = service.streaming.attach(
        identifier,
        tty=tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr and not tty,
    )
    return pb.AttachResponse(url=url)
