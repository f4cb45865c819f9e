"""What stands in the files of a configMap, secret, downwardAPI or projected volume."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orlop.kit.errors import InvalidInput
from orlop.system.kube import downward
from orlop.system.kube.environment import absent
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, Data, DesiredPod
from orlop.system.kube.volume_model import (
    ConfigMapVolume,
    DownwardFile,
    DownwardVolume,
    KeyToPath,
    ProjectedVolume,
    ResourceFieldRef,
    SecretVolume,
)


@dataclass(frozen=True)
class File:
    """A file of a volume; `path` is relative and inside."""

    path: str
    data: bytes
    mode: int


Source = ConfigMapVolume | SecretVolume | DownwardVolume | ProjectedVolume


@dataclass(frozen=True)
class _Objects:
    """Where the entries come from."""

    desired: DesiredPod
    data: Data
    facts: Facts

    def keys(
        self, kind: str, name: str, items: tuple[KeyToPath, ...], mode: int, *, optional: bool
    ) -> Iterator[File]:
        """Those that `items` name, or all entries under their own names."""
        namespace = self.desired.namespace
        if kind == "ConfigMap":
            config_map = self.data.config_map(namespace, name)
            entries = None if config_map is None else config_map.entries
        else:
            secret = self.data.secret(namespace, name)
            entries = None if secret is None else secret.entries
        if entries is None:
            if not optional:
                raise absent(self.desired, kind, name)
            return
        for item in items or (KeyToPath(key=key, path=key) for key in entries):
            if item.key in entries:
                yield _file(item.path, entries[item.key], item.mode, mode)
            elif not optional:
                raise absent(self.desired, kind, name, key=item.key)

    def downward(self, items: tuple[DownwardFile, ...], mode: int) -> Iterator[File]:
        for item in items:
            if item.field_ref is not None:
                value = downward.field(self.desired, self.facts, item.field_ref.field_path)
            else:
                assert item.resource_field_ref is not None
                ref = item.resource_field_ref
                value = downward.resource(self.desired, self._container(ref), ref, self.facts)
            yield _file(item.path, value.encode(errors="surrogateescape"), item.mode, mode)

    def _container(self, ref: ResourceFieldRef) -> Container:
        every = self.desired.pod.every_container
        return next(each for each in every if each.name == ref.container_name)


def payload(desired: DesiredPod, source: Source, data: Data, facts: Facts) -> Mapping[str, File]:
    """Path -> file. Raises NotFound for what is absent and not optional, InvalidInput where paths collide."""
    files: dict[str, File] = {}
    for file in _files(_Objects(desired, data, facts), source):
        if file.path in files and not isinstance(source, ProjectedVolume):
            raise _collision(desired, file.path)
        files[file.path] = file
    for path in files:
        if any(parent in files for parent in _parents(path)):
            raise _collision(desired, path)
    return files


def _files(objects: _Objects, source: Source) -> Iterator[File]:
    match source:
        case ConfigMapVolume():
            mode, optional = source.default_mode, source.optional
            yield from objects.keys("ConfigMap", source.name, source.items, mode, optional=optional)
        case SecretVolume():
            mode, optional = source.default_mode, source.optional
            yield from objects.keys("Secret", source.secret_name, source.items, mode, optional=optional)
        case DownwardVolume():
            yield from objects.downward(source.items, source.default_mode)
        case ProjectedVolume():
            for each in source.sources:
                for kind, keys in (("ConfigMap", each.config_map), ("Secret", each.secret)):
                    if keys is not None:
                        mode, optional = source.default_mode, keys.optional
                        yield from objects.keys(kind, keys.name, keys.items, mode, optional=optional)
                if each.downward_api is not None:
                    yield from objects.downward(each.downward_api.items, source.default_mode)


def _file(path: str, data: bytes, own: int | None, default: int) -> File:
    return File(posixpath.normpath(path), data, default if own is None else own)


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _collision(desired: DesiredPod, path: str) -> InvalidInput:
    return InvalidInput(
        f"pod {desired.key}", f"two items of a volume want {path!r}", hint="give them different paths"
    )
