"""Short ways to say what the tests of the runtime service ask for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.files import unique
from tests.support.cri import Client

BUSYBOX = "docker.io/library/busybox:latest"
#: It ends at SIGTERM, with 7, and at nothing else; `listening` waits until it hears that.
PATIENT = "trap 'exit 7' TERM; touch /tmp/listening; while :; do sleep 1000 & wait $!; done"
#: It does not end when it is asked to.
STUBBORN = "trap '' TERM; while :; do sleep 1000; done"


def pod(name: str = "", *, options: pb.NamespaceOption | None = None, **fields: Any) -> pb.PodSandboxConfig:
    """A pod of its own name, with the machine's network (which takes no time) unless `options` say so."""
    name = name or f"p-{unique()[:8]}"
    options = options or pb.NamespaceOption(network=pb.NODE, pid=pb.CONTAINER)
    context = pb.LinuxSandboxSecurityContext(namespace_options=options)
    values = {
        "metadata": pb.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="tests"),
        "linux": pb.LinuxPodSandboxConfig(security_context=context),
        **fields,
    }
    return pb.PodSandboxConfig(**values)


def box(script: str = PATIENT, name: str = "main", **fields: Any) -> pb.ContainerConfig:
    """A container that runs a line of shell."""
    values = {
        "metadata": pb.ContainerMetadata(name=name),
        "image": pb.ImageSpec(image=BUSYBOX),
        "command": ["sh", "-c", script],
        **fields,
    }
    return pb.ContainerConfig(**values)


def run(client: Client, config: pb.PodSandboxConfig | None = None, **fields: Any) -> str:
    """Run a pod; its ID."""
    request = pb.RunPodSandboxRequest(config=config or pod(), **fields)
    return str(client.RunPodSandbox(request).pod_sandbox_id)


def create(
    client: Client, sandbox: str, config: pb.ContainerConfig, of: pb.PodSandboxConfig | None = None
) -> str:
    """Create a container; its ID."""
    request = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=of)
    return str(client.CreateContainer(request).container_id)


def start(client: Client, identifier: str) -> str:
    client.StartContainer(pb.StartContainerRequest(container_id=identifier))
    return identifier


def started(client: Client, sandbox: str, config: pb.ContainerConfig | None = None) -> str:
    """Create and start one; its ID."""
    return start(client, create(client, sandbox, config or box()))


def listening(client: Client, identifier: str) -> str:
    """Once a container of PATIENT, or of another script that touches this file, hears signals."""
    eventually(lambda: execute(client, identifier, "test -e /tmp/listening").exit_code == 0)
    return identifier


def status(client: Client, identifier: str) -> pb.ContainerStatus:
    answer: pb.ContainerStatusResponse = client.ContainerStatus(
        pb.ContainerStatusRequest(container_id=identifier)
    )
    return answer.status


def pod_status(client: Client, identifier: str) -> pb.PodSandboxStatus:
    answer: pb.PodSandboxStatusResponse = client.PodSandboxStatus(
        pb.PodSandboxStatusRequest(pod_sandbox_id=identifier)
    )
    return answer.status


def execute(client: Client, identifier: str, script: str, timeout: int = 0) -> pb.ExecSyncResponse:
    request = pb.ExecSyncRequest(container_id=identifier, cmd=["sh", "-c", script], timeout=timeout)
    answer: pb.ExecSyncResponse = client.ExecSync(request)
    return answer


def said(client: Client, script: str, of: pb.PodSandboxConfig | None = None, **fields: Any) -> str:
    """What a line of shell prints in a new container of a new pod, removed afterwards."""
    sandbox = run(client, of)
    try:
        identifier = started(client, sandbox, box(**fields))
        done = execute(client, identifier, script)
        assert done.exit_code == 0, done.stderr
        return done.stdout.decode().strip()
    finally:
        remove(client, sandbox)


def remove(client: Client, sandbox: str) -> None:
    client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=sandbox))
    client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox))


def ended(client: Client, identifier: str) -> pb.ContainerStatus:
    """Its status once it has ended."""
    eventually(lambda: status(client, identifier).state == pb.CONTAINER_EXITED)
    return status(client, identifier)


@contextlib.contextmanager
def refused(code: grpc.StatusCode, *words: str) -> Iterator[None]:
    """The block's call fails with this code, and its message holds these words."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    assert caught.value.code() == code, caught.value
    for word in words:
        assert word in caught.value.details(), caught.value.details()


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until `holds` is true; fail where it never is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
