"""Validation of a Pod's volumes."""

from __future__ import annotations

from collections.abc import Iterable

from orlop.system.kube import names
from orlop.system.kube.downward import check_field, check_resource
from orlop.system.kube.findings import Findings
from orlop.system.kube.model import PodSpec
from orlop.system.kube.problem import Path
from orlop.system.kube.volume_model import (
    ClaimVolume,
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    EmptyDir,
    HostPath,
    KeysProjection,
    KeyToPath,
    ProjectedVolume,
    SecretVolume,
    Volume,
    VolumeSource,
)

_MODES = 0o777


def check_volume(found: Findings, path: Path, volume: Volume, spec: PodSpec) -> None:
    found.error((*path, "name"), names.label(volume.name))
    if len(volume.sources) > 1:
        found.error(path, "has more than one source")
    fields = dict(zip(volume.__struct_fields__, volume.__struct_encode_fields__, strict=True))
    for field, wire in fields.items():
        source = getattr(volume, field)
        if field != "name" and source is not None:
            _check_source(found, (*path, wire), source, spec)


def _check_source(found: Findings, path: Path, source: VolumeSource, spec: PodSpec) -> None:
    match source:
        case EmptyDir():
            _check_empty_dir(found, path, source)
        case HostPath():
            if not source.path.startswith("/"):
                found.error((*path, "path"), f"{source.path!r} is not absolute")
            elif ".." in source.path.split("/"):
                found.error((*path, "path"), f"{source.path!r} must not hold ..")
        case ConfigMapVolume():
            found.error((*path, "name"), names.subdomain(source.name))
            _check_keys(found, path, source.items, source.default_mode)
        case SecretVolume():
            found.error((*path, "secretName"), names.subdomain(source.secret_name))
            _check_keys(found, path, source.items, source.default_mode)
        case DownwardVolume():
            found.between((*path, "defaultMode"), source.default_mode, 0, _MODES)
            _check_downward(found, path, source.items, spec)
        case ClaimVolume():
            found.error((*path, "claimName"), names.subdomain(source.claim_name))
        case ProjectedVolume():
            _check_projected(found, path, source, spec)


def _check_empty_dir(found: Findings, path: Path, source: EmptyDir) -> None:
    if source.medium not in ("", "Memory"):
        huge = source.medium == "HugePages" or source.medium.startswith("HugePages-")
        text = f"{source.medium} is not supported" if huge else f"expected Memory, got {source.medium!r}"
        found.error((*path, "medium"), text)
    if source.size_limit is not None:
        if source.size_limit.amount < 0:
            found.error((*path, "sizeLimit"), "must not be negative")
        if source.medium != "Memory":
            found.warn((*path, "sizeLimit"), "is not enforced but with medium Memory")


def _check_projected(found: Findings, path: Path, source: ProjectedVolume, spec: PodSpec) -> None:
    found.between((*path, "defaultMode"), source.default_mode, 0, _MODES)
    for number, each in enumerate(source.sources):
        here = (*path, "sources", number)
        found.exactly_one(here, each, ("configMap", "secret", "downwardAPI"))
        for field, keys in (("configMap", each.config_map), ("secret", each.secret)):
            if isinstance(keys, KeysProjection):
                found.error((*here, field, "name"), names.subdomain(keys.name))
                _check_keys(found, (*here, field), keys.items, 0)
        if each.downward_api is not None:
            _check_downward(found, (*here, "downwardAPI"), each.downward_api.items, spec)


def _check_keys(found: Findings, path: Path, items: Iterable[KeyToPath], mode: int) -> None:
    found.between((*path, "defaultMode"), mode, 0, _MODES)
    for number, item in enumerate(items):
        here = (*path, "items", number)
        found.error((*here, "key"), "" if item.key else "is required")
        found.error((*here, "path"), _file(item.path))
        found.between((*here, "mode"), item.mode, 0, _MODES)


def _check_downward(found: Findings, path: Path, items: Iterable[DownwardFile], spec: PodSpec) -> None:
    for number, item in enumerate(items):
        here = (*path, "items", number)
        found.error((*here, "path"), _file(item.path))
        found.between((*here, "mode"), item.mode, 0, _MODES)
        found.exactly_one(here, item, ("fieldRef", "resourceFieldRef"))
        if item.field_ref is not None:
            where = (*here, "fieldRef", "fieldPath")
            found.error(where, check_field(item.field_ref.field_path, volume=True))
        if item.resource_field_ref is not None:
            every = [*spec.init_containers, *spec.containers]
            problem = check_resource(item.resource_field_ref)
            if item.resource_field_ref.container_name not in {each.name for each in every}:
                problem = "containerName must name a container of the pod"
            found.error((*here, "resourceFieldRef"), problem)


def _file(path: str) -> str:
    """Where an item goes: the volume's own links begin with `..`."""
    return names.inner_path(path) or (f"{path!r} must not begin with .." if path.startswith("..") else "")
