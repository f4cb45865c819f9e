"""The parts of a container, made and taken away: what create, run, remove and recover share.

Everything here is called by whoever holds the container's claim.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial

from orlop.kit import files
from orlop.kit.errors import InvalidInput, NotFound, OrlopError
from orlop.pod import codec, etc, inside, namespaces, sandbox
from orlop.pod.context import Pods
from orlop.pod.merge import Merged, merged
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.pod.records import CREATING
from orlop.runtime.model import ContainerSpec, Mount, Namespaces, Process, Security

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.config import ImageConfig

_SHM = "/dev/shm"  # noqa: S108 - not a temporary file


def validate(config: ContainerConfig) -> None:
    """Raises InvalidInput where the configuration could not be carried out."""
    name = config.name
    if not name or "/" in name or len(name) > 253 or not name.isprintable():
        raise InvalidInput(
            f"container {name[:60]!r}", "is not a name", hint="use up to 253 letters, digits, dots and dashes"
        )
    for mount in config.mounts:
        if not mount.destination.startswith("/") or ".." in mount.destination.split("/"):
            raise InvalidInput(
                f"container {name}: mount {mount.destination!r}",
                "is not an absolute path without ..",
                hint="begin it with /",
            )


def image_of(pods: Pods, config: ContainerConfig) -> tuple[str, ImageConfig]:
    """The ID and the configuration of the container's image. Raises NotFound saying how to get it."""
    try:
        image = pods.store.image(config.image)
    except NotFound as error:
        raise NotFound(
            f"image {config.image}", "is not in the store", hint=f"orlop image pull {config.image}"
        ) from error
    return str(image.id), pods.store.image_config(image.id)


def row(
    pods: Pods, identifier: str, sandbox_id: str, config: ContainerConfig, image_id: str
) -> dict[str, object]:
    """The record of a container that is about to be made."""
    return {
        "id": identifier,
        "sandbox_id": sandbox_id,
        "name": config.name,
        "attempt": config.attempt,
        "state": CREATING,
        "boot": pods.boot,
        "created": pods.now(),
        "image_id": image_id,
        "log_path": config.log_path or pods.own_log(identifier),
        "remove": int(config.remove),
        "config": codec.dumps(config),
    }


def make_root(
    pods: Pods, identifier: str, image_id: str, image: ImageConfig, config: ContainerConfig, hostname: str
) -> tuple[str, Merged]:
    """The mounted root with the working directory in it, and what will run there."""
    process = merged(config, image, hostname=hostname)
    pods.store.create_rootfs(identifier, image_id)
    root = pods.store.mount_rootfs(identifier)
    if process.cwd != "/":
        inside.make_folder(root, process.cwd)
    for volume in process.volumes:
        inside.make_folder(root, volume)
    return root, process


def spec(
    pods: Pods,
    identifier: str,
    sandbox_id: str,
    pod: SandboxConfig,
    config: ContainerConfig,
    process: Merged,
    root: str,
) -> ContainerSpec:
    """What the runtime is asked for."""
    return ContainerSpec(
        id=identifier,
        root=root,
        process=Process(
            args=process.args,
            env=process.env,
            cwd=process.cwd,
            terminal=config.terminal,
            stdin=config.stdin,
            stop_signal=process.stop_signal,
        ),
        cgroup=pods.cgroup(sandbox_id, identifier),
        namespaces=_namespaces(pods, sandbox_id, pod, config),
        security=Security(**{**vars(config.security), "user": process.user}),
        resources=config.resources,
        mounts=_mounts(pods, sandbox_id, pod, config, process, root),
        devices=config.devices,
        annotations=config.annotations,
    )


def log_folder(pods: Pods, log_path: str) -> None:
    """The folder of the log exists afterwards. Raises InvalidInput where it cannot."""
    try:
        os.makedirs(os.path.dirname(log_path), mode=0o755, exist_ok=True)
    except OSError as error:
        raise InvalidInput(log_path, str(error.strerror), hint="choose another log path") from error


def dismantle(pods: Pods, identifier: str, log_path: str) -> None:
    """Take away everything that a container has: processes, runtime state, mounts, root, bundle, log.

    The log is removed where it is at the node's own place; elsewhere it belongs to whoever chose the place.
    """
    own_log = os.path.dirname(pods.own_log(identifier))
    ended = pods.engine.exit_of(identifier) is not None
    runtime = partial(_delete, pods, identifier, ended)
    root = partial(pods.store.remove_rootfs, identifier)
    rest = [partial(files.remove_tree, pods.bundle(identifier))]
    if log_path.startswith(own_log + "/"):
        rest.append(partial(files.remove_tree, own_log))
    if ended:  # nobody is in the root any more
        sandbox.all_of([partial(sandbox.at_once, [root, runtime]), *rest])
    else:
        sandbox.all_of([runtime, root, *rest])


def _delete(pods: Pods, identifier: str, ended: bool) -> None:
    """By force only where it must be: that asks the runtime twice."""
    if ended:
        with contextlib.suppress(OrlopError):
            pods.engine.delete(identifier)
            return
    pods.engine.delete(identifier, force=True)


def _namespaces(pods: Pods, sandbox_id: str, pod: SandboxConfig, config: ContainerConfig) -> Namespaces:
    pins = namespaces.folder(pods.node, sandbox_id)
    host = pod.network == "host"
    return Namespaces(
        network="host" if host else os.path.join(pins, "net"),
        ipc="host" if pod.host_ipc else os.path.join(pins, "ipc"),
        uts="host" if host else os.path.join(pins, "uts"),
        pid=""
        if config.own_pid
        else "host"
        if pod.host_pid
        else os.path.join(pins, "pid")
        if pod.shared_pid
        else "",
    )


def _mounts(
    pods: Pods, sandbox_id: str, pod: SandboxConfig, config: ContainerConfig, process: Merged, root: str
) -> tuple[Mount, ...]:
    """The pod's files, the image's volumes under a read-only root, and over them its own mounts."""
    read_only = config.security.read_only_root
    place = etc.folder(pods.node, sandbox_id)
    pins = namespaces.folder(pods.node, sandbox_id)
    shared = [
        Mount("/etc/hosts", os.path.join(place, "hosts"), read_only),
        Mount("/etc/resolv.conf", os.path.join(place, "resolv.conf"), read_only),
        Mount("/etc/hostname", os.path.join(place, "hostname"), read_only),
    ]
    if not pod.host_ipc:
        shared.append(Mount(_SHM, os.path.join(pins, "shm")))
    if read_only:
        # The folder over itself: writable, with the image's content and owners, and gone with the container.
        shared += [Mount(volume, inside.real_path(root, volume)) for volume in process.volumes]
    own = {mount.destination.rstrip("/") or "/" for mount in config.mounts}
    return (*(mount for mount in shared if mount.destination.rstrip("/") not in own), *config.mounts)
