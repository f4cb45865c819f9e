"""One description of devices: a JSON or YAML file of a vendor's, read with bounds and checked whole."""

from __future__ import annotations

import json

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, LimitExceeded
from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_ENDS = _LETTERS | frozenset("0123456789")
_VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")
_STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_EDITS = ("env", "deviceNodes", "netDevices", "hooks", "mounts", "intelRdt", "additionalGids")


@dataclass(frozen=True)
class Document:
    """A file that is right. `edits` are those of every device of it; `devices` map a name to its own."""

    path: str
    kind: str  # "vendor/class"
    edits: dict[str, Any]
    devices: dict[str, dict[str, Any]]


def load(path: str) -> Document:
    """Raises InvalidInput and LimitExceeded with what is wrong; OSError as open(2) does."""
    data = files.read_bounded(path, limits.CDI_FILE_SIZE)
    try:
        found = json.loads(data) if path.endswith(".json") else _yaml(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"CDI file {path}", f"cannot be read: {error}", hint="correct the file") from error
    return _Checked(path).document(found)


def is_kind(text: str) -> bool:
    """Whether it is "vendor/class"."""
    vendor, slash, kind = text.partition("/")
    return bool(slash) and _is_name(vendor, "_-.") and _is_name(kind, "_-")


def is_device(text: str) -> bool:
    """Whether it is the name of a device, without its kind."""
    return _is_name(text, "_-.:", first=_ENDS)


def _is_name(text: str, inner: str, first: frozenset[str] = _LETTERS) -> bool:
    return (
        bool(text)
        and len(text) <= limits.NAME_LENGTH
        and text[0] in first
        and text[-1] in _ENDS
        and (_ENDS | frozenset(inner)).issuperset(text)
    )


def _yaml(data: bytes) -> object:
    """Without aliases (no description needs them, bombs are made of them) and not too deep."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth, wrong = 0, ""
    try:
        for event in yaml.parse(data, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            wrong = "it has an alias" if isinstance(event, yaml.AliasEvent) else wrong
            if wrong or depth > limits.YAML_DEPTH:
                break
        if wrong or depth:
            raise yaml.YAMLError(wrong or "it is nested too deeply")
        return yaml.load(data, Loader=loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


class _Checked:
    """The checks of one file: every error names the file and the place in it."""

    def __init__(self, path: str) -> None:
        self._path = path

    def document(self, found: object) -> Document:
        whole = self._mapping(
            found, "", ("cdiVersion", "kind", "annotations", "devices", "containerEdits"), "device file"
        )
        version = self._text(whole.get("cdiVersion"), "cdiVersion")
        if version.removeprefix("v") not in _VERSIONS:
            raise self._wrong("cdiVersion", f"{version[:20]!r} is not known; {_VERSIONS[-1]} is the newest")
        kind = self._text(whole.get("kind"), "kind")
        if not is_kind(kind):
            raise self._wrong("kind", f"{kind[:80]!r} is not of the form vendor/class")
        devices: dict[str, dict[str, Any]] = {}
        for place, entry in self._list(whole.get("devices"), "devices", limits.CDI_ENTRIES):
            device = self._mapping(entry, place, ("name", "annotations", "containerEdits"))
            name = self._text(device.get("name"), f"{place}.name")
            if not is_device(name) or name in devices:
                raise self._wrong(f"{place}.name", f"{name[:80]!r} is no name, or is there twice")
            devices[name] = self._edits(device.get("containerEdits"), f"{place}.containerEdits")
        if not devices:
            raise self._wrong("devices", "there is none")
        return Document(self._path, kind, self._edits(whole.get("containerEdits"), "containerEdits"), devices)

    def _edits(self, found: object, place: str) -> dict[str, Any]:
        edits = self._mapping(found or {}, place, _EDITS)
        for at, entry in self._list(edits.get("env"), f"{place}.env"):
            name, sign, _ = self._text(entry, at, empty=False).partition("=")
            if not name or not sign or "\0" in str(entry):
                raise self._wrong(at, "is not NAME=value")
        for kind, check in (
            ("deviceNodes", self._node),
            ("mounts", self._mount),
            ("hooks", self._hook),
            ("additionalGids", self._group),
        ):
            self._each(edits.get(kind), f"{place}.{kind}", check)
        return edits

    def _each(self, found: object, place: str, check: Callable[[object, str], None]) -> None:
        for at, entry in self._list(found, place):
            check(entry, at)

    def _node(self, entry: object, place: str) -> None:
        known = ("path", "hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid")
        node = self._mapping(entry, place, known)
        self._absolute(node.get("path"), f"{place}.path")
        if node.get("hostPath"):
            self._absolute(node["hostPath"], f"{place}.hostPath")
        if node.get("type", "") not in ("", "b", "c", "u", "p"):
            raise self._wrong(f"{place}.type", "is none of b, c, u, p")
        if not set(self._text(node.get("permissions", ""), f"{place}.permissions")) <= set("rwm"):
            raise self._wrong(f"{place}.permissions", "are not some of rwm")
        for name in ("major", "minor", "fileMode", "uid", "gid"):
            self._number(node.get(name, 0), f"{place}.{name}")

    def _mount(self, entry: object, place: str) -> None:
        mount = self._mapping(entry, place, ("hostPath", "containerPath", "options", "type"))
        if not self._text(mount.get("hostPath"), f"{place}.hostPath"):
            raise self._wrong(f"{place}.hostPath", "is empty")
        self._absolute(mount.get("containerPath"), f"{place}.containerPath")
        self._text(mount.get("type", ""), f"{place}.type")
        for at, option in self._list(mount.get("options"), f"{place}.options"):
            self._text(option, at)

    def _hook(self, entry: object, place: str) -> None:
        hook = self._mapping(entry, place, ("hookName", "path", "args", "env", "timeout"))
        if hook.get("hookName") not in _STAGES:
            raise self._wrong(f"{place}.hookName", f"is none of {', '.join(_STAGES)}")
        self._absolute(hook.get("path"), f"{place}.path")
        for name in ("args", "env"):
            for at, word in self._list(hook.get(name), f"{place}.{name}"):
                self._text(word, at)
        self._number(hook.get("timeout", 0), f"{place}.timeout")

    def _group(self, entry: object, place: str) -> None:
        self._number(entry, place)

    # Of any value

    def _mapping(
        self, found: object, place: str, known: tuple[str, ...], what: str = "object"
    ) -> dict[str, Any]:
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise self._wrong(place, f"is no {what}")
        for key in found:
            if key not in known:
                raise self._wrong(f"{place}.{key[:80]}".lstrip("."), "is not known")
        return found

    def _list(self, found: object, place: str, longest: int = limits.CDI_ENTRIES) -> list[tuple[str, object]]:
        if found is None:
            return []
        if not isinstance(found, list):
            raise self._wrong(place, "is no list")
        if len(found) > longest:
            raise LimitExceeded(
                f"CDI file {self._path}: {place}", f"more than {longest}", hint="split the file"
            )
        return [(f"{place}[{index}]", entry) for index, entry in enumerate(found)]

    def _text(self, found: object, place: str, *, empty: bool = True) -> str:
        if not isinstance(found, str) or (not found and not empty) or "\0" in found:
            raise self._wrong(place, "is no text")
        return found

    def _absolute(self, found: object, place: str) -> None:
        path = self._text(found, place)
        if not path.startswith("/") or ".." in path.split("/") or len(path) > limits.PATH_LENGTH:
            raise self._wrong(place, f"{path[:80]!r} is no absolute path without ..")

    def _number(self, found: object, place: str) -> None:
        if found is not None and (type(found) is not int or not 0 <= found < 1 << 32):
            raise self._wrong(place, "is no number from 0 to 2^32 - 1")

    def _wrong(self, place: str, cause: str) -> InvalidInput:
        where = f": {place}" if place else ""
        return InvalidInput(f"CDI file {self._path}{where}", cause, hint="see who wrote this file")
