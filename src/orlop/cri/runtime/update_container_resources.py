"""Change the limits of a container while it runs."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import resources
from orlop.cri.translate.fields import required
from orlop.kit.errors import InvalidInput
from orlop.pod.update_container import update_container


def update_container_resources(
    service: Service, request: pb.UpdateContainerResourcesRequest
) -> pb.UpdateContainerResourcesResponse:
    """What is 0 or empty stays as it is. Raises NotFound, Conflict (it has ended), InvalidInput."""
    identifier = service.container_id(required(request))
    if not request.HasField("linux"):
        raise InvalidInput(f"container {identifier[:12]}", "no resources of Linux", hint="send linux")
    asked = resources.resources(request.linux, f"container {identifier[:12]}")
    update_container(service.pods, identifier, asked)
    return pb.UpdateContainerResourcesResponse()
