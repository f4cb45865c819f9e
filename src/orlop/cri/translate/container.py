"""ContainerConfig of the CRI into that of `pod`."""

from __future__ import annotations

import os

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import resources, security
from orlop.cri.translate.sandbox import mappings
from orlop.kit.errors import InvalidInput
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.runtime.model import Device, Mount

_PROPAGATION = {
    pb.PROPAGATION_PRIVATE: "rprivate",
    pb.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    pb.PROPAGATION_BIDIRECTIONAL: "rshared",
}


def container_config(asked: pb.ContainerConfig, pod: SandboxConfig) -> ContainerConfig:
    """Raises InvalidInput naming the field that is missing or wrong."""
    if not asked.metadata.name:
        raise InvalidInput("container: metadata.name", "is empty", hint="every container has one")
    subject = f"container {asked.metadata.name}"
    if not asked.image.image:
        raise InvalidInput(f"{subject}: image", "is empty", hint="name an image that was pulled")
    return ContainerConfig(
        name=asked.metadata.name,
        image=asked.image.image,
        image_name=asked.image.user_specified_image,
        attempt=asked.metadata.attempt,
        command=tuple(asked.command) or None,
        args=tuple(asked.args) or None,
        env=tuple((entry.key, entry.value) for entry in asked.envs),
        working_dir=asked.working_dir,
        mounts=tuple(_mount(mount, subject) for mount in asked.mounts),
        devices=tuple(
            Device(host_path=device.host_path, path=device.container_path, permissions=device.permissions)
            for device in asked.devices
        ),
        cdi_devices=tuple(device.name for device in asked.CDI_devices),
        resources=resources.resources(asked.linux.resources, subject),
        security=security.security(asked.linux.security_context, pod, subject),
        terminal=asked.tty,
        stdin=asked.stdin,
        stdin_once=asked.stdin_once,
        log_path=log_path(pod.log_directory, asked.log_path, subject),
        labels=dict(asked.labels),
        annotations=dict(asked.annotations),
    )


def log_path(directory: str, relative: str, subject: str) -> str:
    """Where the log goes; "": the node's own place. Raises InvalidInput where it would leave `directory`."""
    if not directory or not relative:
        return ""
    if relative.startswith("/") or ".." in relative.split("/") or "\0" in relative or relative.endswith("/"):
        raise InvalidInput(
            f"{subject}: log_path {relative!r}",
            "leads out of the pod's log directory",
            hint="give a path below it",
        )
    path = os.path.normpath(os.path.join(directory, relative))
    real = os.path.realpath(directory)
    if os.path.islink(path) or not os.path.realpath(path).startswith(real + "/"):
        raise InvalidInput(
            f"{subject}: log_path {relative!r}",
            "passes a symbolic link that leads out of the pod's log directory",
            hint="remove the link",
        )
    return path


def _mount(asked: pb.Mount, subject: str) -> Mount:
    subject = f"{subject}: mount {asked.container_path!r}"
    is_image = asked.HasField("image") and bool(asked.image.image)
    if not is_image and not asked.host_path:
        raise InvalidInput(subject, "has neither a host path nor an image", hint="give one")
    if is_image and asked.host_path:
        raise InvalidInput(subject, "has a host path and an image", hint="give one")
    if asked.host_path and not asked.host_path.startswith("/"):
        raise InvalidInput(subject, f"host path {asked.host_path!r} is not absolute", hint="begin it with /")
    if asked.propagation not in _PROPAGATION:
        raise InvalidInput(subject, f"no propagation {asked.propagation}", hint="see the CRI")
    if asked.recursive_read_only:
        if not asked.readonly:
            raise InvalidInput(subject, "is recursively read-only and not read-only", hint="set readonly")
        if asked.propagation != pb.PROPAGATION_PRIVATE:
            raise InvalidInput(
                subject, "is recursively read-only and propagates", hint="leave propagation out"
            )
    return Mount(
        destination=asked.container_path,
        source=asked.host_path,
        read_only=asked.readonly or is_image,
        propagation=_PROPAGATION[asked.propagation],
        sub_path=asked.image_sub_path if is_image else "",
        recursive_read_only=asked.recursive_read_only,
        image=asked.image.image if is_image else "",
        uid_mappings=mappings(asked.uidMappings, subject),
        gid_mappings=mappings(asked.gidMappings, subject),
    )
