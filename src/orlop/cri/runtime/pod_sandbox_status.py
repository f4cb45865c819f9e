"""A pod as it is."""

from __future__ import annotations

import json
import os
import time

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate import status
from orlop.cri.translate.fields import required
from orlop.pod import codec, namespaces
from orlop.pod.model import Sandbox

#: What a pin is called -> what the OCI's runtime specification calls the namespace.
_KINDS = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid", "user": "user"}


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
    """As crictl inspectp has it: what was asked for, and where its parts are.

    `runtimeSpec` is there for scripts, which look for the network namespace in it; `pid` is of the pod's own
    process, 0 where it has none (only a shared PID namespace needs one).
    """
    pods = service.pods
    row = pods.records.row("sandboxes", sandbox.id)
    place = namespaces.folder(pods.node, sandbox.id)
    pinned = [{"type": _KINDS[name], "path": f"{place}/{name}"} for name in _KINDS if _is_pinned(place, name)]
    return {
        "pid": 0 if row is None else row["init_pid"],
        "runtimeHandler": sandbox.config.handler,
        "runtimeSpec": {
            "hostname": sandbox.config.hostname,
            "annotations": dict(sandbox.config.annotations),
            "linux": {"cgroupsPath": pods.cgroup(sandbox.id), "namespaces": pinned},
        },
        "config": json.loads(codec.dumps(sandbox.config)),
        "addresses": json.loads(codec.dumps(sandbox.addresses)),
        "namespaces": place,
        "cgroup": pods.cgroup(sandbox.id),
    }


def _is_pinned(place: str, name: str) -> bool:
    return os.path.exists(f"{place}/{name}")
