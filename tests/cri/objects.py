"""Pods and containers made through the interface, as the kubelet makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orlop.cri.proto import cri_pb2 as pb
from tests.support.cri import Client

BUSYBOX = "docker.io/library/busybox:latest"


def sandbox_config(
    name: str = "pod", *, labels: Mapping[str, str] | None = None, network: bool = False
) -> pb.PodSandboxConfig:
    """A pod of its own; without `network` it has the machine's, which takes no time to make."""
    options = pb.NamespaceOption(network=pb.POD if network else pb.NODE)
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="tests"),
        labels=labels,
        linux=pb.LinuxPodSandboxConfig(
            security_context=pb.LinuxSandboxSecurityContext(namespace_options=options)
        ),
    )


def sandbox(
    client: Client, name: str = "pod", *, labels: Mapping[str, str] | None = None, network: bool = False
) -> str:
    """Run a pod; its ID."""
    config = sandbox_config(name, labels=labels, network=network)
    return str(client.RunPodSandbox(pb.RunPodSandboxRequest(config=config)).pod_sandbox_id)


def container(
    client: Client,
    sandbox_id: str,
    image: str = BUSYBOX,
    command: Sequence[str] = ("sleep", "1000"),
    *,
    name: str = "main",
    labels: Mapping[str, str] | None = None,
    memory: int = 0,
) -> str:
    """Create a container of the pod; its ID."""
    config = pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=name),
        image=pb.ImageSpec(image=image),
        command=command,
        labels=labels,
        linux=pb.LinuxContainerConfig(resources=pb.LinuxContainerResources(memory_limit_in_bytes=memory)),
    )
    request = pb.CreateContainerRequest(pod_sandbox_id=sandbox_id, config=config)
    return str(client.CreateContainer(request).container_id)


def running_container(
    client: Client,
    sandbox_id: str,
    image: str = BUSYBOX,
    command: Sequence[str] = ("sleep", "1000"),
    *,
    name: str = "main",
    labels: Mapping[str, str] | None = None,
    memory: int = 0,
) -> str:
    """Create and start one; its ID."""
    identifier = container(client, sandbox_id, image, command, name=name, labels=labels, memory=memory)
    client.StartContainer(pb.StartContainerRequest(container_id=identifier))
    return identifier
