"""Where to go to run a command in a container with its streams."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import check_streams, command, required
from orlop.pod.exec_container import running


def exec(service: Service, request: pb.ExecRequest) -> pb.ExecResponse:  # noqa: A001 - the RPC's name
    """Raises NotFound, Conflict (the container does not run), InvalidInput (streams)."""
    check_streams(request)
    identifier = service.container_id(required(request))
    running(service.pods, identifier)
    url = service.streaming.exec(
        identifier,
        command(request),
        tty=request.tty,
        stdin=request.stdin,
        stdout=request.stdout,
        stderr=request.stderr,
    )
    return pb.ExecResponse(url=url)
