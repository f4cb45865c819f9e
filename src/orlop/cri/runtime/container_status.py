"""A container as it is."""

from __future__ import annotations

import contextlib
import json

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status
from orlop.cri.translate.fields import required
from orlop.kit.errors import OrlopError
from orlop.pod.model import Container


def container_status(service: Service, request: pb.ContainerStatusRequest) -> pb.ContainerStatusResponse:
    """Raises NotFound."""
    container = service.container(required(request))
    return pb.ContainerStatusResponse(
        status=status.container_status(container),
        info={"info": json.dumps(_details(service, container))} if request.verbose else {},
    )


def _details(service: Service, container: Container) -> dict[str, object]:
    """As crictl inspect has it: the process, the pod, and what the runtime was asked for."""
    engine = service.pods.engine
    details: dict[str, object] = {
        "sandboxID": container.sandbox_id,
        "pid": container.pid,
        "privileged": container.config.security.privileged,
        "bundle": engine.bundle(container.id),
    }
    with contextlib.suppress(OrlopError):  # of one that has ended and was cleaned up
        details["runtimeSpec"] = engine.config_of(container.id)
    return details
