"""Volumes and the objects that they are filled from, as Kubernetes' core/v1 declares them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

from msgspec import field

from orlop.system.kube.quantity import Quantity
from orlop.system.kube.wire import Wire

FILE_MODE = 0o644  # of what is written into configMap, secret, downwardAPI and projected volumes


class Metadata(Wire, frozen=True):
    name: str = ""
    namespace: str = "default"
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class ApiObject(Wire, frozen=True):
    """What bears a namespace and a name."""

    metadata: Metadata


class ConfigMap(ApiObject, frozen=True):
    data: dict[str, str] = field(default_factory=dict)
    binary_data: dict[str, str] = field(default_factory=dict)  # base64
    immutable: bool = False

    @property
    def entries(self) -> Mapping[str, bytes]:
        texts = {key: text.encode(errors="surrogatepass") for key, text in self.data.items()}
        return texts | {key: base64.b64decode(text) for key, text in self.binary_data.items()}


class Secret(ApiObject, frozen=True):
    type: str = "Opaque"
    data: dict[str, str] = field(default_factory=dict)  # base64
    string_data: dict[str, str] = field(default_factory=dict)
    immutable: bool = False

    @property
    def entries(self) -> Mapping[str, bytes]:
        """Decoded; `stringData` wins over `data`, as the API server has it."""
        decoded = {key: base64.b64decode(text) for key, text in self.data.items()}
        return decoded | {key: text.encode(errors="surrogatepass") for key, text in self.string_data.items()}


class ClaimResources(Wire, frozen=True):
    limits: dict[str, Quantity] = field(default_factory=dict)
    requests: dict[str, Quantity] = field(default_factory=dict)


class ClaimSpec(Wire, frozen=True):
    access_modes: tuple[
        Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], ...
    ] = ()
    resources: ClaimResources = ClaimResources()
    volume_mode: Literal["Filesystem"] = "Filesystem"


class PersistentVolumeClaim(ApiObject, frozen=True):
    spec: ClaimSpec


class KeyToPath(Wire, frozen=True):
    key: str
    path: str
    mode: int | None = None


class FieldRef(Wire, frozen=True):
    field_path: str
    api_version: Literal["v1"] = "v1"


class ResourceFieldRef(Wire, frozen=True):
    resource: str
    container_name: str = ""
    divisor: Quantity | None = None


class EmptyDir(Wire, frozen=True):
    medium: str = ""  # "", Memory; HugePages and HugePages-<size> are refused by validation
    size_limit: Quantity | None = None


class HostPath(Wire, frozen=True):
    path: str
    type: Literal[
        "",
        "DirectoryOrCreate",
        "Directory",
        "FileOrCreate",
        "File",
        "Socket",
        "CharDevice",
        "BlockDevice",
    ] = ""


class ConfigMapVolume(Wire, frozen=True):
    name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = FILE_MODE
    optional: bool = False


class SecretVolume(Wire, frozen=True):
    secret_name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = FILE_MODE
    optional: bool = False


class DownwardFile(Wire, frozen=True):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardVolume(Wire, frozen=True):
    items: tuple[DownwardFile, ...] = ()
    default_mode: int = FILE_MODE


class ClaimVolume(Wire, frozen=True):
    claim_name: str
    read_only: bool = False


class KeysProjection(Wire, frozen=True):
    """configMap and secret within `projected`: both have this form."""

    name: str
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class DownwardProjection(Wire, frozen=True):
    items: tuple[DownwardFile, ...] = ()


class Projection(Wire, frozen=True):
    """One source of a projected volume: exactly one field is set."""

    config_map: KeysProjection | None = None
    secret: KeysProjection | None = None
    downward_api: DownwardProjection | None = field(default=None, name="downwardAPI")


class ProjectedVolume(Wire, frozen=True):
    sources: tuple[Projection, ...] = ()
    default_mode: int = FILE_MODE


VolumeSource = (
    EmptyDir | HostPath | ConfigMapVolume | SecretVolume | DownwardVolume | ClaimVolume | ProjectedVolume
)


class Volume(Wire, frozen=True):
    """A volume of a pod: exactly one source is set (emptyDir where the declaration names none)."""

    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardVolume | None = field(default=None, name="downwardAPI")
    persistent_volume_claim: ClaimVolume | None = None
    projected: ProjectedVolume | None = None

    @property
    def sources(self) -> tuple[VolumeSource, ...]:
        """Those that are set."""
        every = (
            self.empty_dir,
            self.host_path,
            self.config_map,
            self.secret,
            self.downward_api,
            self.persistent_volume_claim,
            self.projected,
        )
        return tuple(source for source in every if source is not None)

    @property
    def source(self) -> VolumeSource:
        return (*self.sources, EmptyDir())[0]
