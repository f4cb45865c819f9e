"""A pod as it is."""

from __future__ import annotations

import json
import time

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status
from orlop.cri.translate.fields import required
from orlop.pod import codec, namespaces
from orlop.pod.model import Sandbox


def pod_sandbox_status(service: Service, request: pb.PodSandboxStatusRequest) -> pb.PodSandboxStatusResponse:
    """The pod and all its containers at one moment. Raises NotFound."""
    sandbox = service.sandbox(required(request))
    moment = time.time_ns()
    containers = service.containers(sandbox.id)
    return pb.PodSandboxStatusResponse(
        status=status.sandbox_status(sandbox),
        containers_statuses=[status.container_status(container) for container in containers],
        timestamp=moment,
        info={"info": json.dumps(_details(service, sandbox))} if request.verbose else {},
    )


def _details(service: Service, sandbox: Sandbox) -> dict[str, object]:
    """As crictl inspectp has it: what was asked for, and where its parts are."""
    pods = service.pods
    return {
        "config": json.loads(codec.dumps(sandbox.config)),
        "addresses": json.loads(codec.dumps(sandbox.addresses)),
        "namespaces": namespaces.folder(pods.node, sandbox.id),
        "cgroup": pods.cgroup(sandbox.id),
    }
