"""Whether the runtime is well, and what it can do."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service


def status(service: Service, request: pb.StatusRequest) -> pb.StatusResponse:
    """The conditions that the kubelet waits for."""
    conditions = [
        pb.RuntimeCondition(type="RuntimeReady", status=True),
        pb.RuntimeCondition(type="NetworkReady", status=True),
    ]
    return pb.StatusResponse(status=pb.RuntimeStatus(conditions=conditions))
