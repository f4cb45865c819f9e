"""Who answers, and which version of the interface."""

from __future__ import annotations

import importlib.metadata

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service

_OLD_PROTOCOL = "0.1.0"  # what the kubelet sends and expects in `version`, unchanged since dockershim
_VERSION = importlib.metadata.version("orlop")


async def version(service: Service, request: pb.VersionRequest) -> pb.VersionResponse:
    """The versions of the interface and of Orlop."""
    return pb.VersionResponse(
        version=_OLD_PROTOCOL,
        runtime_name="orlop",
        runtime_version=_VERSION,
        runtime_api_version="v1",
    )
