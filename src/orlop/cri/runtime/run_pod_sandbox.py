"""Make a pod without containers."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.sandbox import sandbox_config
from orlop.kit.errors import InvalidInput
from orlop.pod.run_sandbox import run_sandbox


def run_pod_sandbox(service: Service, request: pb.RunPodSandboxRequest) -> pb.RunPodSandboxResponse:
    """The pod is ready afterwards; the same request again gives the same pod."""
    if not request.HasField("config") or not request.config.HasField("metadata"):
        raise InvalidInput("RunPodSandbox", "lacks config or its metadata", hint="send both")
    sandbox = run_sandbox(service.pods, sandbox_config(request.config, request.runtime_handler))
    service.events.publish(sandbox.id, "created")
    service.events.publish(sandbox.id, "started")
    return pb.RunPodSandboxResponse(pod_sandbox_id=sandbox.id)
