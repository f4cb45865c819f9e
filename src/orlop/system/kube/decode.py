"""Kubernetes YAML to a Declaration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from orlop.system.kube import validate
from orlop.system.kube.documents import Map, Seq, Value, documents, line_of
from orlop.system.kube.fields import HARMLESS_KINDS
from orlop.system.kube.model import Data, Declaration, Deployment, FieldWarning, Pod
from orlop.system.kube.problem import InvalidDeclaration, Path, printable
from orlop.system.kube.shape import Shape
from orlop.system.kube.volume_model import ApiObject, ConfigMap, PersistentVolumeClaim, Secret
from orlop.system.kube.wire import decode_hook

O = TypeVar("O", bound=ApiObject)  # noqa: E741

_KINDS: dict[str, tuple[str, type[ApiObject]]] = {
    "Pod": ("v1", Pod),
    "Deployment": ("apps/v1", Deployment),
    "ConfigMap": ("v1", ConfigMap),
    "Secret": ("v1", Secret),
    "PersistentVolumeClaim": ("v1", PersistentVolumeClaim),
}
_LIST = ("apiVersion", "kind", "metadata", "items")


@dataclass(frozen=True)
class _Object:
    """An object of a file: `path` leads to it from its document's root (into a List's items)."""

    document: int
    root: Value
    path: Path
    value: Value


def decode(text: bytes, *, source: str) -> Declaration:
    """All documents of one file. `source` is its name, for messages.

    Raises InvalidDeclaration, which lists every problem with its document, line and path: malformed YAML, an
    unknown field, a value of the wrong type, a refused field, a broken rule of the API server's validation.
    """
    reader = _Reader()
    for number, root in documents(text, source=source):
        for each in _unpacked(_Object(number, root, (), root)):
            reader.read(each)
    reader.check_duplicates()
    if reader.problems:
        raise InvalidDeclaration(source, reader.problems)
    if not reader.objects:
        raise InvalidDeclaration(source, ["declares nothing"], hint=f"it takes {', '.join(_KINDS)}")
    return Declaration(
        pods=reader.of(Pod),
        deployments=reader.of(Deployment),
        data=Data(
            config_maps=reader.of(ConfigMap),
            secrets=reader.of(Secret),
            claims=reader.of(PersistentVolumeClaim),
        ),
        warnings=tuple(reader.warnings),
    )


class _Reader:
    """What the objects read so far came to."""

    def __init__(self) -> None:
        self.objects: list[tuple[_Object, ApiObject]] = []
        self.problems: list[str] = []
        self.warnings: list[FieldWarning] = []

    def of(self, kind: type[O]) -> tuple[O, ...]:
        return tuple(value for _, value in self.objects if isinstance(value, kind))

    def read(self, item: _Object) -> None:
        kind = self._kind(item)
        if kind is None:
            return
        assert isinstance(item.value, Map)
        shape = Shape()
        shaped = shape.structure(item.value, kind)
        problems = shape.problems
        if not problems:
            value = msgspec.convert(shaped, kind, dec_hook=decode_hook)
            found = validate.check(value)
            problems = list(found.problems)
            shape.warnings += found.warnings
            self.objects.append((item, value))
        self.problems += [f"{_where(item, each.path)}: {each.text}" for each in problems]
        self.warnings += [
            FieldWarning(path=_where(item, each.path), text=each.text) for each in shape.warnings
        ]

    def check_duplicates(self) -> None:
        seen: dict[tuple[str, str, str], _Object] = {}
        for item, value in self.objects:
            key = (type(value).__name__, value.metadata.namespace, value.metadata.name)
            first = seen.setdefault(key, item)
            if first is not item:
                line = line_of(first.root, (*first.path, "metadata", "name"))
                where = _where(item, ("metadata", "name"))
                self.problems.append(f"{where}: {key[0]} {key[1]}/{key[2]} stands in line {line} already")

    def _kind(self, item: _Object) -> type[ApiObject] | None:
        if not isinstance(item.value, Map):
            self.problems.append(f"{_where(item, ())}: expected an object with apiVersion and kind")
            return None
        kind, version = item.value.get("kind"), item.value.get("apiVersion")
        if isinstance(kind, str) and kind in HARMLESS_KINDS:
            text = f"{kind} has no effect: {HARMLESS_KINDS[kind]}"
            self.warnings.append(FieldWarning(path=_where(item, ("kind",)), text=text))
            return None
        if not isinstance(kind, str) or kind not in _KINDS:
            text = "is required" if kind is None else f"{kind!r} is not played; it takes {', '.join(_KINDS)}"
            self.problems.append(f"{_where(item, ('kind',))}: {text}")
            return None
        wanted, structure = _KINDS[kind]
        if version != wanted:
            text = "is required" if version is None else f"{kind} of {version!r} is not known"
            self.problems.append(f"{_where(item, ('apiVersion',))}: {text}; write {wanted}")
            return None
        return structure


def _unpacked(item: _Object) -> Iterator[_Object]:
    """The object itself, or the items of a List, also where Lists are nested."""
    value = item.value
    items = value.get("items") if isinstance(value, Map) and value.get("kind") == "List" else None
    if not isinstance(value, Map) or not isinstance(items, Seq) or not value.keys() <= set(_LIST):
        yield item
        return
    for number, each in enumerate(items):
        yield from _unpacked(_Object(item.document, item.root, (*item.path, "items", number), each))


def _where(item: _Object, path: Path) -> str:
    whole = (*item.path, *path)
    line = line_of(item.root, whole)
    place = f"document {item.document}" + (f", line {line}" if line else "")
    return f"{place}: {printable(whole)}" if whole else place
