"""Begin the log of a container anew, after it was moved away."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import required
from orlop.pod.reopen_log import reopen_log


def reopen_container_log(
    service: Service, request: pb.ReopenContainerLogRequest
) -> pb.ReopenContainerLogResponse:
    """Raises NotFound, Conflict (it does not run, so no file was made)."""
    reopen_log(service.pods, service.container_id(required(request)))
    return pb.ReopenContainerLogResponse()
