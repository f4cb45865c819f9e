"""What the kubelet has to do as we do."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service


def runtime_config(service: Service, request: pb.RuntimeConfigRequest) -> pb.RuntimeConfigResponse:
    """Who makes cgroups: the kubelet names its own accordingly."""
    driver = pb.SYSTEMD if service.pods.engine.systemd else pb.CGROUPFS
    return pb.RuntimeConfigResponse(linux=pb.LinuxRuntimeConfiguration(cgroup_driver=driver))
