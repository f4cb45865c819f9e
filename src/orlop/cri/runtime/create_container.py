"""Make a container in a pod, ready to start."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.container import container_config
from orlop.cri.translate.fields import required
from orlop.kit.errors import InvalidInput
from orlop.pod.create_container import create_container as create


def create_container(service: Service, request: pb.CreateContainerRequest) -> pb.CreateContainerResponse:
    """The container is created afterwards; the same request again gives the same container.

    Raises InvalidInput, NotFound (the pod, the image), Conflict (the pod is not ready).
    """
    if not request.HasField("config") or not request.config.HasField("metadata"):
        raise InvalidInput("CreateContainer", "lacks config or its metadata", hint="send both")
    sandbox = service.sandbox(required(request))
    made = create(service.pods, sandbox.id, container_config(request.config, sandbox.config))
    service.events.publish(made.id, "created")
    return pb.CreateContainerResponse(container_id=made.id)
