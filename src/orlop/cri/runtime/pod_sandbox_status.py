"""A pod as it is."""

from __future__ import annotations

import time

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status
from orlop.cri.translate.fields import required


def pod_sandbox_status(service: Service, request: pb.PodSandboxStatusRequest) -> pb.PodSandboxStatusResponse:
    """Raises NotFound."""
    sandbox = service.sandbox(required(request))
    return pb.PodSandboxStatusResponse(status=status.sandbox_status(sandbox), timestamp=time.time_ns())
