"""What the kubelet tells of the cluster."""

from __future__ import annotations

import ipaddress
import logging

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.kit.errors import InvalidInput

_log = logging.getLogger(__name__)


async def update_runtime_config(
    service: Service, request: pb.UpdateRuntimeConfigRequest
) -> pb.UpdateRuntimeConfigResponse:
    """The pods' addresses are the CNI configuration's to say, so the range is noted and nothing changes.

    Raises InvalidInput where it is no range.
    """
    ranges = request.runtime_config.network_config.pod_cidr
    for each in ranges.split(",") if ranges else []:
        try:
            ipaddress.ip_network(each.strip(), strict=False)
        except ValueError as error:
            raise InvalidInput(f"pod_cidr {ranges[:80]!r}", str(error), hint="as in 10.1.0.0/24") from error
    if ranges:
        _log.info("the kubelet gives this node's pods %s; the network's configuration decides", ranges)
    return pb.UpdateRuntimeConfigResponse()
