"""`pod`'s values as the messages that tell of them."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import resources, signals
from orlop.pod.model import Container, ContainerConfig, Sandbox, SandboxConfig
from orlop.runtime.model import IDMapping, Mount

_SANDBOX = {"ready": pb.SANDBOX_READY, "notready": pb.SANDBOX_NOTREADY}
_CONTAINER = {
    "created": pb.CONTAINER_CREATED,
    "running": pb.CONTAINER_RUNNING,
    "exited": pb.CONTAINER_EXITED,
}
_PROPAGATION = {
    "rprivate": pb.PROPAGATION_PRIVATE,
    "rslave": pb.PROPAGATION_HOST_TO_CONTAINER,
    "rshared": pb.PROPAGATION_BIDIRECTIONAL,
}


def nanoseconds(seconds: float) -> int:
    """Of a time since the epoch; a float has microseconds, so nothing is lost that was there."""
    return round(seconds * 1_000_000) * 1000


def sandbox_state(state: str) -> pb.PodSandboxState:
    return _SANDBOX[state]


def container_state(state: str) -> pb.ContainerState:
    return _CONTAINER.get(state, pb.CONTAINER_UNKNOWN)


def sandbox_metadata(config: SandboxConfig) -> pb.PodSandboxMetadata:
    return pb.PodSandboxMetadata(
        name=config.name, uid=config.uid, namespace=config.namespace, attempt=config.attempt
    )


def container_metadata(config: ContainerConfig) -> pb.ContainerMetadata:
    return pb.ContainerMetadata(name=config.name, attempt=config.attempt)


def sandbox_item(sandbox: Sandbox) -> pb.PodSandbox:
    """As lists have it."""
    config = sandbox.config
    return pb.PodSandbox(
        id=sandbox.id,
        metadata=sandbox_metadata(config),
        state=sandbox_state(sandbox.state),
        created_at=nanoseconds(sandbox.created),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=config.handler,
    )


def sandbox_status(sandbox: Sandbox) -> pb.PodSandboxStatus:
    """As its status has it."""
    config = sandbox.config
    options = pb.NamespaceOption(
        network=pb.NODE if config.network == "host" else pb.POD,
        pid=pb.NODE if config.host_pid else pb.POD if config.shared_pid else pb.CONTAINER,
        ipc=pb.NODE if config.host_ipc else pb.POD,
    )
    if config.uid_mappings:
        options.userns_options.CopyFrom(
            pb.UserNamespace(
                mode=pb.POD, uids=_mappings(config.uid_mappings), gids=_mappings(config.gid_mappings)
            )
        )
    first, *others = sandbox.addresses.ips or ("",)
    return pb.PodSandboxStatus(
        id=sandbox.id,
        metadata=sandbox_metadata(config),
        state=sandbox_state(sandbox.state),
        created_at=nanoseconds(sandbox.created),
        network=pb.PodSandboxNetworkStatus(ip=first, additional_ips=[pb.PodIP(ip=ip) for ip in others]),
        linux=pb.LinuxPodSandboxStatus(namespaces=pb.Namespace(options=options)),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=config.handler,
    )


def container_item(container: Container) -> pb.Container:
    """As lists have it."""
    config = container.config
    return pb.Container(
        id=container.id,
        pod_sandbox_id=container.sandbox_id,
        metadata=container_metadata(config),
        image=_image(config),
        image_ref=config.image_ref or container.image_id,
        state=container_state(container.state),
        created_at=nanoseconds(container.created),
        labels=config.labels,
        annotations=config.annotations,
        image_id=container.image_id,
    )


def container_status(container: Container) -> pb.ContainerStatus:
    """As its status has it."""
    config = container.config
    return pb.ContainerStatus(
        id=container.id,
        metadata=container_metadata(config),
        state=container_state(container.state),
        created_at=nanoseconds(container.created),
        started_at=nanoseconds(container.started),
        finished_at=nanoseconds(container.finished),
        exit_code=container.exit_code,
        image=_image(config),
        image_ref=config.image_ref or container.image_id,
        reason=container.reason,
        message=container.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=[_mount(mount) for mount in config.mounts],
        log_path=container.log_path,
        resources=pb.ContainerResources(linux=resources.message(config.resources)),
        image_id=container.image_id,
        user=pb.ContainerUser(
            linux=pb.LinuxContainerUser(
                uid=container.uid, gid=container.gid, supplemental_groups=container.groups
            )
        ),
        stop_signal=signals.message(container.stop_signal),
    )


def _image(config: ContainerConfig) -> pb.ImageSpec:
    """By the name that the user chose, where the request told it."""
    return pb.ImageSpec(image=config.image_name or config.image)


def _mount(mount: Mount) -> pb.Mount:
    return pb.Mount(
        container_path=mount.destination,
        host_path=mount.source,
        readonly=mount.read_only,
        propagation=_PROPAGATION[mount.propagation],
        uidMappings=_mappings(mount.uid_mappings),
        gidMappings=_mappings(mount.gid_mappings),
        recursive_read_only=mount.recursive_read_only,
        image=pb.ImageSpec(image=mount.image) if mount.image else None,
        image_sub_path=mount.sub_path if mount.image else "",
    )


def _mappings(of: tuple[IDMapping, ...]) -> list[pb.IDMapping]:
    return [pb.IDMapping(host_id=each.host, container_id=each.container, length=each.length) for each in of]
