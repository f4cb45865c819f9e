"""Where to go to reach ports of a pod."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.kit.errors import Conflict, InvalidInput

_HIGHEST = 65535


def port_forward(service: Service, request: pb.PortForwardRequest) -> pb.PortForwardResponse:
    """Raises NotFound, Conflict (the pod is not ready), InvalidInput (no such port)."""
    sandbox = service.sandbox(required(request))
    if sandbox.state != "ready":
        raise Conflict(f"pod sandbox {sandbox.id[:12]}", "is not ready", hint="see: orlop pod list")
    for port in request.port:
        if not 1 <= port <= _HIGHEST:
            raise InvalidInput(f"port {port}", "is no port", hint=f"from 1 to {_HIGHEST}")
    return pb.PortForwardResponse(url=service.streaming.port_forward(sandbox.id, tuple(request.port)))
