"""Write a running container to an archive."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required, seconds
from orlop.kit.errors import InvalidInput
from orlop.pod import checkpoint_container as checkpoint


def checkpoint_container(
    service: Service, request: pb.CheckpointContainerRequest
) -> pb.CheckpointContainerResponse:
    """It goes on afterwards. Raises NotFound, Conflict, InvalidInput, Unsupported (no CRIU)."""
    identifier = service.container_id(required(request))
    if not request.location.startswith("/"):
        raise InvalidInput(
            f"location {request.location[:80]!r}", "is not an absolute path", hint="begin it with /"
        )
    checkpoint.checkpoint_container(
        service.pods, identifier, request.location, seconds(request.timeout) or None
    )
    return pb.CheckpointContainerResponse()
