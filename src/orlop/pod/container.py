"""The parts of a container, made and taken away: what create, run, remove and recover share.

Everything here is called by whoever holds the container's claim.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial

from orlop.kit import files
from orlop.kit.errors import Conflict, InvalidInput, NotFound, OrlopError
from orlop.pod import admission, codec, etc, inside, namespaces, refresh, sandbox
from orlop.pod.context import Pods
from orlop.pod.merge import Merged, merged
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.pod.records import CREATING
from orlop.runtime import users
from orlop.runtime.model import ContainerSpec, Mount, Namespaces, Process, Security

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

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
        _validate_mount(f"container {name}: mount at {mount.destination}", mount)


def _validate_mount(subject: str, mount: Mount) -> None:
    if mount.image and mount.source:
        raise InvalidInput(subject, "has both an image and a source", hint="give one of them")
    if mount.recursive_read_only and not (mount.read_only and mount.propagation in ("rprivate", "private")):
        raise InvalidInput(
            subject,
            "is read-only in all its parts, but not read-only itself or not private",
            hint="make it read-only, with private propagation",
        )


def image_of(pods: Pods, config: ContainerConfig) -> tuple[str, ImageConfig]:
    """The ID and the configuration of the container's image, which the policy allows.

    Raises NotFound saying how to get it, PolicyRefused (of it, or of an image that is mounted).
    """
    try:
        image = pods.store.image(config.image)
    except NotFound as error:
        raise NotFound(
            f"image {config.image}", "is not in the store", hint=f"orlop image pull {config.image}"
        ) from error
    admission.admit(pods, image, config)
    return str(image.id), pods.store.image_config(image.id)


def row(
    pods: Pods,
    identifier: str,
    sandbox_id: str,
    config: ContainerConfig,
    image_id: str,
    log_directory: str = "",
) -> dict[str, object]:
    """The record of a container that is about to be made. Raises InvalidInput for a log path that is none."""
    return {
        "id": identifier,
        "sandbox_id": sandbox_id,
        "name": config.name,
        "attempt": config.attempt,
        "state": CREATING,
        "boot": pods.boot,
        "created": pods.now(),
        "image_id": image_id,
        "log_path": _log_path(config, log_directory) or pods.own_log(identifier),
        "remove": int(config.remove),
        "config": codec.dumps(config),
    }


def make_root(
    pods: Pods,
    row: dict[str, object],
    image_id: str,
    image: ImageConfig,
    config: ContainerConfig,
    pod: SandboxConfig,
) -> tuple[str, Merged]:
    """The mounted root with the working directory in it, and what will run there.

    In a user namespace the sandbox's is needed for it, else nothing of the sandbox.
    """
    identifier = str(row["id"])
    process = merged(config, image, hostname=etc.hostname(pod))
    pods.store.create_rootfs(identifier, image_id)
    owner = sandbox.owner(pod)
    root = pods.store.mount_rootfs(identifier, _user_namespace(pods, str(row["sandbox_id"]), pod), owner)
    if process.cwd != "/":
        inside.make_folder(root, process.cwd, owner=owner)
    for volume in process.volumes:
        inside.make_folder(root, volume, owner=owner)
    security = config.security
    user = users.resolve(root, process.user, security.groups, security.groups_policy)
    who = {"uid": user.uid, "gid": user.gid, "groups": user.groups, "home": user.home}
    return root, Merged(**{**vars(process), **who})


def spec(
    pods: Pods,
    identifier: str,
    sandbox_id: str,
    pod: SandboxConfig,
    config: ContainerConfig,
    process: Merged,
    root: str,
    pid_namespace: str = "",
) -> ContainerSpec:
    """What the runtime is asked for. `pid_namespace` is the path of another container's, to be joined."""
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
        namespaces=_namespaces(pods, sandbox_id, pod, config, pid_namespace),
        security=Security(**{**vars(config.security), "user": process.user}),
        resources=config.resources,
        mounts=_mounts(pods, identifier, sandbox_id, pod, config, process, root),
        devices=config.devices,
        annotations=config.annotations,
        identity=users.User(process.uid, process.gid, process.groups, process.home),
        uid_mappings=pod.uid_mappings,
        gid_mappings=pod.gid_mappings,
    )


@contextlib.contextmanager
def pid_namespace(pods: Pods, identifier: str, sandbox_id: str, target: str) -> Iterator[str]:
    """The path, for the block, of the PID namespace of the container `target` of the same pod; "" for none.

    It is opened before the process is looked at, so that it is that very process's, whoever is PID later.
    Raises NotFound, InvalidInput (it is of another pod), Conflict (it has ended).
    """
    if not target:
        yield ""
        return
    row = pods.container_row(target)
    subject = f"container {row['name']}"
    if row["sandbox_id"] != sandbox_id:
        raise InvalidInput(
            subject, "is in another pod, so its processes cannot be shared", hint="name one of the same pod"
        )
    try:
        opened = os.open(f"/proc/{row['pid']}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        opened = -1
    try:
        if opened < 0 or not refresh.alive(row["pid"], row["pid_start"]):
            raise Conflict(subject, "has ended, so its processes cannot be shared", hint="name one that runs")
        with namespaces.pinned(pods.node, sandbox_id, f"pid-{identifier}", opened) as path:
            yield path
    finally:
        if opened >= 0:
            os.close(opened)


def log_folder(pods: Pods, log_path: str, log_directory: str = "") -> None:
    """The folder of the log exists afterwards, and is below `log_directory` where that is given.

    Raises InvalidInput where it cannot, or where a link leads out of it (CVE-2025-0750's class).
    """
    check_log(log_path, log_directory)
    try:
        os.makedirs(os.path.dirname(log_path), mode=0o755, exist_ok=True)
    except OSError as error:
        raise InvalidInput(log_path, str(error.strerror), hint="choose another log path") from error


def check_log(log_path: str, log_directory: str) -> None:
    """Raises InvalidInput where a link leads out of `log_directory`, or is in the place of the log itself.

    Whoever can write there (a pod that has /var/log) could have our rights write elsewhere.
    """
    folder = os.path.dirname(log_path)
    for path in (log_path, log_directory.rstrip("/")):
        if path and os.path.islink(path):
            raise InvalidInput(f"log {path}", "is a symbolic link", hint="see who put it there")
    if log_directory and log_path.startswith(log_directory.rstrip("/") + "/"):
        above = os.path.realpath(log_directory)
        if os.path.commonpath((above, os.path.realpath(folder))) != above:
            raise InvalidInput(
                f"log {log_path}", f"a link leads out of {log_directory}", hint="choose another log path"
            )


def check_opened_log(pods: Pods, identifier: str, log_path: str, log_directory: str) -> None:
    """Raises InvalidInput where conmon's log is not below `log_directory`: a folder was swapped meanwhile.

    The container has not begun, so nothing of it has been written there.
    """
    from orlop.runtime import conmon

    pid = pods.engine.conmon_pid(identifier)
    if pid and not conmon.has_open_below(pid, os.path.realpath(log_directory)):
        raise InvalidInput(f"log {log_path}", "its folder was replaced meanwhile", hint="see who did it")


def _log_path(config: ContainerConfig, log_directory: str) -> str:
    """Where the log was asked to be; "": nowhere (a relative path, and the pod has no log directory)."""
    path = config.log_path
    if not path or (not log_directory and not path.startswith("/")):
        return ""
    for text in (path, log_directory):
        if ".." in text.split("/") or (text and not text.isprintable()):
            raise InvalidInput(f"log {text!r}", "is no plain path", hint="give a path without ..")
    if log_directory and not log_directory.startswith("/"):
        raise InvalidInput(f"log directory {log_directory}", "is not absolute", hint="begin it with /")
    return os.path.normpath(os.path.join(log_directory, path))


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


def _namespaces(
    pods: Pods, sandbox_id: str, pod: SandboxConfig, config: ContainerConfig, pid: str
) -> Namespaces:
    pins = namespaces.folder(pods.node, sandbox_id)
    host = pod.network == "host"
    return Namespaces(
        network="host" if host else os.path.join(pins, "net"),
        ipc="host" if pod.host_ipc else os.path.join(pins, "ipc"),
        uts="host" if host else os.path.join(pins, "uts"),
        pid=pid
        if pid or config.own_pid
        else "host"
        if pod.host_pid
        else os.path.join(pins, "pid")
        if pod.shared_pid
        else "",
        user=_user_namespace(pods, sandbox_id, pod),
    )


def _user_namespace(pods: Pods, sandbox_id: str, pod: SandboxConfig) -> str:
    return os.path.join(namespaces.folder(pods.node, sandbox_id), "user") if pod.uid_mappings else ""


def _mounts(
    pods: Pods,
    identifier: str,
    sandbox_id: str,
    pod: SandboxConfig,
    config: ContainerConfig,
    process: Merged,
    root: str,
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
    asked = config.mounts
    if any(mount.image for mount in asked):
        users_ = _user_namespace(pods, sandbox_id, pod)
        asked = tuple(
            _with_image(pods, identifier, mount, users_) if mount.image else mount for mount in asked
        )
    return (*(mount for mount in shared if mount.destination.rstrip("/") not in own), *asked)


def _with_image(pods: Pods, identifier: str, mount: Mount, user_namespace: str) -> Mount:
    """The mount of an image, which is mounted now; its mappings are in that mount already.

    Raises NotFound saying how to get the image.
    """
    try:
        root = pods.store.mount_volume(identifier, mount.image, user_namespace)
    except NotFound as error:
        raise NotFound(
            f"image {mount.image}", "is not in the store", hint=f"orlop image pull {mount.image}"
        ) from error
    values = {**vars(mount), "source": root, "uid_mappings": (), "gid_mappings": (), "read_only": True}
    options = (*mount.options, *(o for o in ("noexec", "nosuid", "nodev") if o not in mount.options))
    return Mount(**{**values, "options": options})
