"""Pods as Kubernetes' core/v1 declares them: what is honoured of them, with the API's defaults.

A field that is absent here is harmless or refused: `fields.TABLE` says which.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeVar

from msgspec import field
from msgspec.structs import force_setattr

from orlop.system.kube.quantity import Quantity
from orlop.system.kube.volume_model import (
    ApiObject,
    ConfigMap,
    FieldRef,
    Metadata,
    PersistentVolumeClaim,
    ResourceFieldRef,
    Secret,
    Volume,
)
from orlop.system.kube.wire import Wire, from_json, to_json

__all__ = ["Pod", "PodSpec", "from_json", "to_json"]

RestartPolicy = Literal["Always", "OnFailure", "Never"]


def _default(value: Wire, **defaults: object) -> None:
    """Where the API server gives a default to a zero that was written down, as for one that was not."""
    for name, default in defaults.items():
        if not getattr(value, name):
            force_setattr(value, name, default)


class KeyRef(Wire, frozen=True):
    """A key of a ConfigMap or a Secret."""

    name: str
    key: str
    optional: bool = False


class EnvSource(Wire, frozen=True):
    """Exactly one field is set."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(Wire, frozen=True):
    name: str
    value: str = ""
    value_from: EnvSource | None = None


class ObjectRef(Wire, frozen=True):
    """A ConfigMap or a Secret as a whole."""

    name: str
    optional: bool = False


class EnvFrom(Wire, frozen=True):
    """Exactly one of the two is set."""

    prefix: str = ""
    config_map_ref: ObjectRef | None = None
    secret_ref: ObjectRef | None = None


class ContainerPort(Wire, frozen=True):
    """`host_port` 0: none."""

    container_port: int
    name: str = ""
    host_port: int = 0
    host_ip: str = field(default="", name="hostIP")
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"


class VolumeMount(Wire, frozen=True):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] = "Disabled"


class ResourceRequirements(Wire, frozen=True):
    """Names are cpu, memory, ephemeral-storage, hugepages-<size> and, an addition of Orlop's, pids."""

    limits: dict[str, Quantity] = field(default_factory=dict)
    requests: dict[str, Quantity] = field(default_factory=dict)


class ExecAction(Wire, frozen=True):
    command: tuple[str, ...] = ()


class HTTPHeader(Wire, frozen=True):
    name: str
    value: str = ""


class HTTPGetAction(Wire, frozen=True):
    port: int | str
    path: str = "/"
    host: str = ""
    scheme: Literal["HTTP", "HTTPS"] = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()

    def __post_init__(self) -> None:
        _default(self, path="/")


class TCPSocketAction(Wire, frozen=True):
    port: int | str
    host: str = ""


class GRPCAction(Wire, frozen=True):
    port: int
    service: str = ""


class SleepAction(Wire, frozen=True):
    seconds: int


class Probe(Wire, frozen=True):
    """Exactly one of the four actions is set. Times in seconds."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None

    def __post_init__(self) -> None:
        _default(self, timeout_seconds=1, period_seconds=10, success_threshold=1, failure_threshold=3)


class Handler(Wire, frozen=True):
    """A lifecycle hook: exactly one action is set."""

    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Wire, frozen=True):
    post_start: Handler | None = None
    pre_stop: Handler | None = None
    stop_signal: str = ""


class Capabilities(Wire, frozen=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SeccompProfile(Wire, frozen=True):
    """`localhost_profile` is relative to the node's folder of profiles (docs/play.md)."""

    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str = ""


class AppArmorProfile(Wire, frozen=True):
    """Read to be warned of or refused: no profile is set here."""

    type: Literal["RuntimeDefault", "Unconfined", "Localhost"]
    localhost_profile: str = ""


class SecurityContext(Wire, frozen=True):
    """Of a container. None: the pod's value, or the default."""

    capabilities: Capabilities = Capabilities()
    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    proc_mount: Literal["Default", "Unmasked"] = "Default"
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class Sysctl(Wire, frozen=True):
    name: str
    value: str


class PodSecurityContext(Wire, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: Literal["Merge", "Strict"] = "Merge"
    fs_group: int | None = None
    fs_group_change_policy: Literal["Always", "OnRootMismatch"] = "Always"
    sysctls: tuple[Sysctl, ...] = ()
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None


class RestartRuleExitCodes(Wire, frozen=True):
    operator: Literal["In", "NotIn"]
    values: tuple[int, ...] = ()


class RestartRule(Wire, frozen=True):
    action: Literal["Restart"]
    exit_codes: RestartRuleExitCodes | None = None


class Container(Wire, frozen=True):
    """A container, an init container, or a sidecar (an init container with restart_policy Always).

    An empty `command` or `args` is the image's, `restart_policy` "" the pod's, `image_pull_policy` "" decided
    by the image's tag (see `pull_policy`).
    """

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    env: tuple[EnvVar, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()
    restart_policy: Literal["", "Always", "OnFailure", "Never"] = ""
    restart_policy_rules: tuple[RestartRule, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: Literal["File", "FallbackToLogsOnError"] = "File"
    image_pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    security_context: SecurityContext = SecurityContext()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False

    def __post_init__(self) -> None:
        _default(self, termination_message_path="/dev/termination-log")

    @property
    def pull_policy(self) -> Literal["Always", "IfNotPresent", "Never"]:
        """As the API server decides: Always for `:latest` and for no tag and no digest."""
        if self.image_pull_policy:
            return self.image_pull_policy
        name, _, digest = self.image.partition("@")
        tag = name.rpartition("/")[2].partition(":")[2]
        return "Always" if not digest and tag in ("", "latest") else "IfNotPresent"

    def port_number(self, port: int | str) -> int | None:
        """The container port that a probe or a hook means, by number or by name; None: no such name."""
        if isinstance(port, int):
            return port
        if port.isdecimal():
            return int(port)
        return next((each.container_port for each in self.ports if each.name == port), None)


class LocalObjectRef(Wire, frozen=True):
    name: str = ""


class HostAlias(Wire, frozen=True):
    ip: str
    hostnames: tuple[str, ...] = ()


class DNSOption(Wire, frozen=True):
    name: str
    value: str | None = None


class DNSConfig(Wire, frozen=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DNSOption, ...] = ()


class PodSpec(Wire, frozen=True):
    """Times in seconds. `dns_policy` "" is the API's default, ClusterFirst, not written down."""

    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: RestartPolicy = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: Literal["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] = ""
    dns_config: DNSConfig = DNSConfig()
    service_account_name: str = ""
    host_network: bool = False
    host_pid: bool = field(default=False, name="hostPID")
    host_ipc: bool = field(default=False, name="hostIPC")
    share_process_namespace: bool = False
    security_context: PodSecurityContext = PodSecurityContext()
    image_pull_secrets: tuple[LocalObjectRef, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = field(default=False, name="setHostnameAsFQDN")
    hostname_override: str = ""
    host_aliases: tuple[HostAlias, ...] = ()
    resources: ResourceRequirements = ResourceRequirements()


class Pod(ApiObject, frozen=True):
    spec: PodSpec

    @property
    def sidecars(self) -> tuple[Container, ...]:
        """Init containers with restartPolicy Always: started in order, kept running, stopped last."""
        return tuple(each for each in self.spec.init_containers if each.restart_policy == "Always")

    @property
    def every_container(self) -> Iterator[Container]:
        """Init containers (sidecars among them) in order, then the containers."""
        yield from self.spec.init_containers
        yield from self.spec.containers


class LabelRequirement(Wire, frozen=True):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        return (value in self.values) == (self.operator == "In")


class LabelSelector(Wire, frozen=True):
    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[LabelRequirement, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        return self.match_labels.items() <= labels.items() and all(
            each.matches(labels) for each in self.match_expressions
        )


class PodTemplate(Wire, frozen=True):
    spec: PodSpec
    metadata: Metadata = Metadata()


class DeploymentSpec(Wire, frozen=True):
    selector: LabelSelector
    template: PodTemplate
    replicas: int = 1


class Deployment(ApiObject, frozen=True):
    spec: DeploymentSpec


class Data(Wire, frozen=True):
    """The objects that pods draw from. A store of all played files merges several into one with `merged`."""

    config_maps: tuple[ConfigMap, ...] = ()
    secrets: tuple[Secret, ...] = ()
    claims: tuple[PersistentVolumeClaim, ...] = ()

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return _named(self.config_maps, namespace, name)

    def secret(self, namespace: str, name: str) -> Secret | None:
        return _named(self.secrets, namespace, name)

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        return _named(self.claims, namespace, name)

    def merged(self, newer: Data) -> Data:
        """Both, where `newer` wins for the same namespace and name."""
        return Data(
            config_maps=_merged(self.config_maps, newer.config_maps),
            secrets=_merged(self.secrets, newer.secrets),
            claims=_merged(self.claims, newer.claims),
        )


Object = TypeVar("Object", bound=ApiObject)


def _named(objects: tuple[Object, ...], namespace: str, name: str) -> Object | None:
    return next(
        (each for each in objects if (each.metadata.namespace, each.metadata.name) == (namespace, name)), None
    )


def _merged(older: tuple[Object, ...], newer: tuple[Object, ...]) -> tuple[Object, ...]:
    kept: dict[tuple[str, str], Object] = {
        (each.metadata.namespace, each.metadata.name): each for each in (*older, *newer)
    }
    return tuple(kept.values())


class FieldWarning(Wire, frozen=True):
    """A harmless field that is not honoured: where (`document 1, line 12: spec.nodeSelector`) and why."""

    path: str
    text: str


class Declaration(Wire, frozen=True):
    """Everything that one file declares, in its order."""

    pods: tuple[Pod, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    data: Data = Data()
    warnings: tuple[FieldWarning, ...] = ()


class DesiredPod(Wire, frozen=True):
    """A pod that is to run, under a name and a `uid` that stay the same from one play to the next.

    `owner` is "Pod/<namespace>/<name>" or "Deployment/<namespace>/<name>". `content` is a hash of all that a
    running pod cannot take over (its specification and the ConfigMaps' and Secrets' values in environment
    variables): where it differs, the pod is replaced. `volume_data` is one of what its volumes are filled
    from: where only that differs, `volumes.refresh` writes it in place.
    """

    uid: str
    owner: str
    pod: Pod
    content: str
    volume_data: str

    @property
    def name(self) -> str:
        return self.pod.metadata.name

    @property
    def namespace(self) -> str:
        return self.pod.metadata.namespace

    @property
    def key(self) -> str:
        """<namespace>/<name>: unique on a node."""
        return f"{self.namespace}/{self.name}"
