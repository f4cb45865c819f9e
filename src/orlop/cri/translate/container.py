"""ContainerConfig of the CRI into that of `pod`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import resources, security, signals
from orlop.cri.translate.fields import check_words
from orlop.cri.translate.sandbox import mappings
from orlop.kit.errors import InvalidInput, NotFound
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.runtime.model import Device, Mount, Resources

_PROPAGATION = {
    pb.PROPAGATION_PRIVATE: "rprivate",
    pb.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    pb.PROPAGATION_BIDIRECTIONAL: "rshared",
}


def container_config(
    asked: pb.ContainerConfig,
    pod: SandboxConfig,
    *,
    image_id: str = "",
    image_ref: str = "",
    sources_exist: bool = True,
) -> ContainerConfig:
    """`image_id` and `image_ref` (REPOSITORY@DIGEST) are of the image that was found for what was asked.

    Raises InvalidInput naming the field that is missing or wrong, NotFound for a mount's absent source
    (if `sources_exist`: otherwise the caller makes it).
    """
    if not asked.metadata.name:
        raise InvalidInput("container: metadata.name", "is empty", hint="every container has one")
    subject = f"container {asked.metadata.name}"
    if not asked.image.image:
        raise InvalidInput(f"{subject}: image", "is empty", hint="name an image that was pulled")
    _check_namespaces(asked.linux.security_context, pod, subject)
    check_words(asked.labels, f"{subject}: labels")
    return ContainerConfig(
        name=asked.metadata.name,
        image=image_id or asked.image.image,
        image_name=asked.image.user_specified_image or asked.image.image,
        image_ref=image_ref,
        attempt=asked.metadata.attempt,
        command=tuple(asked.command) or None,
        args=tuple(asked.args) or None,
        env=tuple((entry.key, entry.value) for entry in asked.envs),
        working_dir=asked.working_dir,
        mounts=mounts(asked.mounts, subject, sources_exist=sources_exist),
        devices=tuple(
            Device(host_path=device.host_path, path=device.container_path, permissions=device.permissions)
            for device in asked.devices
        ),
        cdi_devices=tuple(device.name for device in asked.CDI_devices),
        resources=_resources(asked.linux.resources, subject),
        security=security.security(asked.linux, pod, subject),
        terminal=asked.tty,
        stdin=asked.stdin,
        stdin_once=asked.stdin_once,
        stop_signal=signals.name(asked.stop_signal),
        log_path=log_path(pod.log_directory, asked.log_path, subject),
        labels=dict(asked.labels),
        annotations=dict(asked.annotations),
        pid_target=_target(asked.linux.security_context, subject),
        own_pid=_has_own_pids(asked.linux.security_context, pod),
    )


def _resources(asked: pb.LinuxContainerResources, subject: str) -> Resources:
    """0 is a process' score then, not that of whoever starts it (a daemon's may be -999)."""
    found = resources.resources(asked, subject)
    return replace(found, oom_score_adj=asked.oom_score_adj)


def _has_own_pids(asked: pb.LinuxContainerSecurityContext, pod: SandboxConfig) -> bool:
    """Its own PID namespace in a pod that shares one."""
    options = asked.namespace_options
    return options.pid == pb.CONTAINER and (pod.shared_pid or pod.host_pid)


def _target(asked: pb.LinuxContainerSecurityContext, subject: str) -> str:
    """The container whose PID namespace it joins; "": none. Raises InvalidInput."""
    options = asked.namespace_options
    if options.pid != pb.TARGET:
        return ""
    if not options.target_id:
        raise InvalidInput(f"{subject}: target_id", "is empty", hint="name the container to join")
    return str(options.target_id)


def _check_namespaces(asked: pb.LinuxContainerSecurityContext, pod: SandboxConfig, subject: str) -> None:
    """A container has no more of the machine than its pod has. Raises InvalidInput."""
    options = asked.namespace_options
    for kind, mode, has in (
        ("network", options.network, pod.network == "host"),
        ("IPC", options.ipc, pod.host_ipc),
        ("PID", options.pid, pod.host_pid),
    ):
        if mode == pb.NODE and not has:
            raise InvalidInput(
                f"{subject}: {kind} namespace", "is the machine's, and its pod's is not", hint="as the pod's"
            )


def mounts(asked: Iterable[pb.Mount], subject: str, *, sources_exist: bool = True) -> tuple[Mount, ...]:
    """Outer ones before those inside them, in whatever order they came. Raises InvalidInput, NotFound."""
    found = [_mount(mount, subject, sources_exist=sources_exist) for mount in asked]
    return tuple(sorted(found, key=lambda mount: len(_parts(mount.destination))))


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


def _mount(asked: pb.Mount, subject: str, *, sources_exist: bool) -> Mount:
    subject = f"{subject}: mount {asked.container_path!r}"
    is_image = asked.HasField("image") and bool(asked.image.image)
    if not is_image and not asked.host_path:
        raise InvalidInput(subject, "has neither a host path nor an image", hint="give one")
    if is_image and asked.host_path:
        raise InvalidInput(subject, "has a host path and an image", hint="give one")
    if asked.host_path and not asked.host_path.startswith("/"):
        raise InvalidInput(subject, f"host path {asked.host_path!r} is not absolute", hint="begin it with /")
    if sources_exist and not is_image and not os.path.exists(asked.host_path):
        raise NotFound(subject, f"there is no {asked.host_path}", hint="make it first")
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


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
