"""From a desired pod to what `orlop.pod` takes."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, Data, DesiredPod


def sandbox_config(desired: DesiredPod, facts: Facts, *, attempt: int = 0) -> SandboxConfig:
    """The pod without its containers.

    `resources` are those of the pod's cgroup, as the kubelet computes them.
    """
    raise AssertionError("under way")


def container_config(
    desired: DesiredPod,
    container: Container,
    facts: Facts,
    data: Data,
    *,
    volumes: Mapping[str, str],
    termination_log: str = "",
    image_user: str = "",
    attempt: int = 0,
) -> ContainerConfig:
    """One container. `volumes` is what `volumes.prepare` returned, `image_user` the image's USER.

    `termination_log` is the host file that becomes the container's terminationMessagePath ("": none).
    Raises NotFound (a ConfigMap, Secret or key that is not optional), InvalidInput (a volume, a sub-path that
    expands to something that leaves it, a field path without value) and Denied (runAsNonRoot, and the user is
    root or, being a name of the image, cannot be told).
    """
    raise AssertionError("under way")
