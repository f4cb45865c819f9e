"""What a container is asked to be: the values that `pod` hands down. No defaults of an image in here."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.value import dataclass, field

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.users import User


@dataclass(frozen=True)
class IDMapping:
    """`length` IDs from `container` on are those from `host` on outside the user namespace."""

    host: int
    container: int
    length: int


@dataclass(frozen=True)
class Mount:
    """A bind mount or a tmpfs. `source` empty means tmpfs, with `size` bytes (0: half the memory).

    With `image` (a reference or an ID that the store has) the source is that image's root, read-only; `pod`
    resolves it. `kind` is the type of a file system of its own ("cgroup", "proc"), with `source` and
    `options` as they stand. With mappings, which are those of the container's user namespace, the mount is
    idmapped: its users see the owners that the source has.
    """

    destination: str
    source: str = ""
    read_only: bool = False
    propagation: str = "rprivate"  # rprivate | rslave | rshared
    size: int = 0
    sub_path: str = ""  # below source; resolved without ever leaving it (CVE-2017-1002101's class)
    options: tuple[str, ...] = ()  # further ones, such as "noexec" or "mode=0777"
    recursive_read_only: bool = False  # also every mount below the source; needs read_only and rprivate
    image: str = ""
    kind: str = ""
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


@dataclass(frozen=True)
class Resources:
    """Limits and weights. 0 or "" is "not set". Memory in bytes, CPU in thousandths of a core.

    The `cpu_shares`, `cpu_quota` and `cpu_period` of the CRI are the kernel's own (microseconds) and outrank
    the thousandths; a quota of -1 is "no limit".
    """

    cpu_request: int = 0  # millicores: shares (v1) or weight (v2)
    cpu_limit: int = 0  # millicores: quota over a period of 100 ms
    memory_limit: int = 0
    memory_request: int = 0
    memory_swap: int = 0  # memory + swap; 0: equal to memory_limit
    pids: int = 0
    cpuset_cpus: str = ""
    oom_score_adj: int | None = None
    hugepages: Mapping[str, int] = field(default_factory=dict)  # page size ("2MB") -> bytes
    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    cpuset_mems: str = ""
    unified: Mapping[str, str] = field(default_factory=dict)  # cgroup v2 file -> value


@dataclass(frozen=True)
class Security:
    """`seccomp` is "default", "unconfined" or the path of a JSON profile in the OCI form."""

    privileged: bool = False
    user: str = ""  # "uid[:gid]" or "name[:group]"; "" is the image's
    groups: tuple[int, ...] = ()
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    read_only_root: bool = False
    no_new_privileges: bool = False
    seccomp: str = "default"
    masked_paths: tuple[str, ...] | None = None  # None: the field's default list
    read_only_paths: tuple[str, ...] | None = None
    # "merge" adds the image's groups of the user to `groups`, "strict" does not; "image" does where `user`
    # names no group, as an image's USER means it
    groups_policy: str = "image"
    ambient_capabilities: tuple[str, ...] = ()
    apparmor: str = ""  # a profile that the kernel has loaded; "": none
    selinux: str = ""  # "user:role:type:level" of the process; "": none


@dataclass(frozen=True)
class Device:
    """A device node of the machine. `owner` (uid, gid) and `mode` are the host's where they are None.

    With `kind` ("c", "b" or "p") and numbers given, the host's node need not exist.
    """

    host_path: str
    path: str
    permissions: str = "rwm"
    kind: str = ""
    major: int = 0
    minor: int = 0
    mode: int | None = None
    owner: tuple[int, int] | None = None


@dataclass(frozen=True)
class Hook:
    """A program that the OCI runtime runs at `stage` (runtime-spec config.md, "POSIX-platform Hooks")."""

    stage: str  # prestart createRuntime createContainer startContainer poststart poststop
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int = 0  # seconds; 0: none


@dataclass(frozen=True)
class Process:
    """What runs. `args` is complete (entrypoint and command already joined).

    `cwd` empty is "/" for a container and the container's own for an exec.
    """

    args: tuple[str, ...]
    env: tuple[str, ...] = ()  # "NAME=value"
    cwd: str = ""
    terminal: bool = False
    stdin: bool = False
    stop_signal: str = "SIGTERM"


@dataclass(frozen=True)
class Namespaces:
    """Paths of pinned namespaces to join; "" makes a new one, "host" shares the machine's."""

    network: str = ""
    ipc: str = ""
    uts: str = ""
    pid: str = ""
    cgroup: str = ""
    user: str = ""


@dataclass(frozen=True)
class ContainerSpec:
    """Everything that the runtime needs for one container. `id` is 64 hex digits.

    `extra` is what no field says, in the runtime-spec's own words, laid over the rest of config.json:
    mappings into mappings, lists behind lists. `linux.seccomp` in it replaces the profile of `security`.
    """

    id: str
    root: str  # the mounted root file system
    process: Process
    cgroup: str  # path below every controller, such as /orlop/pod<id>/<container id>
    namespaces: Namespaces = Namespaces()
    security: Security = Security()
    resources: Resources = Resources()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    hostname: str = ""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # "RLIMIT_NOFILE" -> soft, hard
    hooks: tuple[Hook, ...] = ()
    identity: User | None = None  # who `security` says that it is, where that was looked up already
    uid_mappings: tuple[IDMapping, ...] = ()  # of the user namespace in `namespaces.user`
    gid_mappings: tuple[IDMapping, ...] = ()
    without_mounts: tuple[str, ...] = ()  # places where nothing is mounted, the defaults included
    extra: Mapping[str, object] = field(default_factory=dict)
