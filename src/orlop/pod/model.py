"""Pods and containers: what is asked for, and what is."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.value import dataclass, field
from orlop.network.model import Addresses, PortMapping
from orlop.runtime.model import Device, IDMapping, Mount, Resources, Security


@dataclass(frozen=True)
class DNS:
    """resolv.conf of the pod. All empty: the machine's, with loopback servers left out."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class SandboxConfig:
    """A pod without its containers. (name, namespace, uid, attempt) identifies it: asked twice, one pod."""

    name: str
    uid: str
    namespace: str = "default"
    attempt: int = 0
    hostname: str = ""
    network: str = "pod"  # "pod" (CNI), "none" (loopback only) or "host"
    host_ipc: bool = False
    host_pid: bool = False
    shared_pid: bool = False
    ports: tuple[PortMapping, ...] = ()
    dns: DNS = DNS()
    host_aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (address, names)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    resources: Resources = Resources()  # of the pod's cgroup as a whole
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    domain: str = ""  # what follows the host name in /etc/hosts; "": nothing
    handler: str = ""  # a runtime handler of the configuration; "": the default one
    cgroup_parent: str = (
        ""  # cgroupfs path or systemd slice that the pod's cgroup lies in; "": the node's own
    )
    log_directory: str = ""  # absolute; a container's relative log path lies below it
    uid_mappings: tuple[IDMapping, ...] = ()  # of the pod's user namespace; none: the machine's users
    gid_mappings: tuple[IDMapping, ...] = ()
    overhead: Resources = Resources()
    privileged: bool = False  # whether privileged containers may be made in it
    manager: str = ""  # whose it is: "cri" for what the kubelet made, which sees (and removes) nothing else


@dataclass(frozen=True)
class ContainerConfig:
    """A container of a pod. (sandbox, name, attempt) identifies it. None in command/args: the image's."""

    name: str
    image: str  # a reference or an image ID that the store has
    attempt: int = 0
    command: tuple[str, ...] | None = None  # replaces the image's entrypoint
    args: tuple[str, ...] | None = None  # replaces the image's command
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    resources: Resources = Resources()
    security: Security = Security()
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    stop_signal: str = ""  # "": the image's, else SIGTERM
    log_path: str = ""  # "": the node's own place
    remove: bool = False  # removed, with its sandbox if that is then empty, when it has exited (`run --rm`)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pid_target: str = ""  # ID of a container of the pod whose PID namespace this one shares
    own_pid: bool = False  # a PID namespace of its own, also in a pod that shares one
    cdi_devices: tuple[str, ...] = ()  # qualified names, "vendor.com/class=name"
    image_name: str = ""  # what the user called the image, for people and status; "": as `image`
    image_ref: str = ""  # the image by digest, REPOSITORY@DIGEST where it has such a name, for status


@dataclass(frozen=True)
class Sandbox:
    """A pod as it is. `state` is "ready" or "notready"; `created` in seconds since the epoch."""

    id: str
    config: SandboxConfig
    state: str
    created: float
    addresses: Addresses = Addresses()


@dataclass(frozen=True)
class Container:
    """A container as it is. `state` is "created", "running", "exited" or "unknown".

    `reason` is "", "Completed", "Error", "OOMKilled", "StartError" (its program cannot be executed) or
    "Lost" (the machine rebooted, or its exit was not recorded); times in seconds since the epoch, 0 where it
    has not happened.
    """

    id: str
    sandbox_id: str
    config: ContainerConfig
    image_id: str
    state: str
    created: float
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0
    log_path: str = ""
    uid: int = 0  # of its first process, as resolved in the image
    gid: int = 0
    groups: tuple[int, ...] = ()
    stop_signal: str = ""  # which it is asked to end by; "" before it is made
