"""Network configurations as administrators write them: .conflist, .conf and .json (CNI 1.1.0, section 1)."""

from __future__ import annotations

import json
import os

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, NotFound
from orlop.kit.files import read_bounded
from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

#: What this runtime speaks, oldest first.
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

_ENDINGS = (".conflist", ".conf", ".json")


@dataclass(frozen=True)
class NetworkList:
    """One network: `plugins` are run in this order. `versions` are those that the configuration allows."""

    name: str
    versions: tuple[str, ...]
    plugins: tuple[dict[str, Any], ...]
    disable_check: bool = False
    disable_gc: bool = False
    source: str = ""

    def as_json(self, version: str) -> dict[str, Any]:
        """The list as the specification writes it, at one version."""
        return {
            "cniVersion": version,
            "name": self.name,
            "disableCheck": self.disable_check,
            "disableGC": self.disable_gc,
            "plugins": list(self.plugins),
        }


def order(version: str) -> int:
    """A version's place among those known; -1 for one that is not."""
    return VERSIONS.index(version) if version in VERSIONS else -1


def load(folder: str, name: str = "") -> NetworkList:
    """The first network of a folder by file name, or the one called `name`.

    Raises NotFound where the folder has none, InvalidInput naming the file and the field.
    """
    try:
        files = sorted(entry for entry in os.listdir(folder) if entry.endswith(_ENDINGS))
    except OSError as error:
        raise NotFound(
            folder, f"cannot be read: {error.strerror}", hint="set [network] config_dir"
        ) from error
    for file in files:
        found = parse(
            read_bounded(os.path.join(folder, file), limits.CNI_FILE_SIZE), os.path.join(folder, file)
        )
        if not name or found.name == name:
            return found
    what = f"has no network called {name}" if name else "has no network configuration"
    raise NotFound(folder, what, hint="put a .conflist there, or leave [network] config_dir empty")


def parse(raw: bytes, source: str) -> NetworkList:
    """A configuration list, or a single plugin's configuration taken as a list of one."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(source, f"is not JSON: {error}", hint="correct the file") from error
    if not isinstance(value, dict):
        raise _wrong(source, "is not a JSON object")
    name = value.get("name")
    if not isinstance(name, str) or not is_identifier(name):
        raise _wrong(source, "`name` is missing, or not letters, digits, '_', '.' and '-'")
    if source.endswith(".conflist") or "plugins" in value or "type" not in value:
        plugins = _inlined(value, source) + _from_folder(value, name, source)
        if not plugins:
            raise _wrong(source, "`plugins` lists no plugin")
    else:
        plugins = [value]
    for plugin in plugins:
        _check_plugin(plugin, source)
    return NetworkList(
        name=name,
        versions=_versions(value, source),
        plugins=tuple(plugins),
        disable_check=_flag(value, "disableCheck", source),
        disable_gc=_flag(value, "disableGC", source),
        source=source,
    )


def is_identifier(text: str) -> bool:
    """Whether `text` may name a network or a container (section 2, CNI_CONTAINERID)."""
    return (
        text.isascii()
        and text[:1].isalnum()
        and all(letter.isalnum() or letter in "_.-" for letter in text)
        and len(text) <= 128
    )


def _inlined(value: dict[str, Any], source: str) -> list[dict[str, Any]]:
    plugins = value.get("plugins", [])
    if not isinstance(plugins, list):
        raise _wrong(source, "`plugins` is not a list")
    return list(plugins)


def _from_folder(value: dict[str, Any], name: str, source: str) -> list[dict[str, Any]]:
    """Plugins added by other files: those of the folder that is called as the network is (since 1.1.0)."""
    folder = os.path.join(os.path.dirname(source), name)
    if _flag(value, "loadOnlyInlinedPlugins", source) or not os.path.isdir(folder):
        return []
    found = []
    for file in sorted(entry for entry in os.listdir(folder) if entry.endswith(".conf")):
        path = os.path.join(folder, file)
        try:
            found.append(json.loads(read_bounded(path, limits.CNI_FILE_SIZE)))
        except ValueError as error:
            raise InvalidInput(path, f"is not JSON: {error}", hint="correct the file") from error
    return found


def _check_plugin(plugin: object, source: str) -> None:
    if not isinstance(plugin, dict):
        raise _wrong(source, "a plugin is not a JSON object")
    kind = plugin.get("type")
    if not isinstance(kind, str) or not kind or "/" in kind or kind in (".", ".."):
        raise _wrong(source, "a plugin's `type` is missing, or is a path and not a program's name")
    capabilities = plugin.get("capabilities", {})
    if not isinstance(capabilities, dict) or not all(type(v) is bool for v in capabilities.values()):
        raise _wrong(source, f"`capabilities` of {kind} is not a table of true and false")


def _versions(value: dict[str, Any], source: str) -> tuple[str, ...]:
    """What `cniVersion` and `cniVersions` allow and we know, oldest first; 0.1.0 if neither says."""
    listed = value.get("cniVersions", [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise _wrong(source, "`cniVersions` is not a list of strings")
    single = value.get("cniVersion", "" if listed else "0.1.0")
    if not isinstance(single, str):
        raise _wrong(source, "`cniVersion` is not a string")
    asked = {*listed, single} - {""} or {"0.1.0"}
    known = tuple(version for version in VERSIONS if version in asked)
    if not known:
        raise InvalidInput(
            source,
            f"asks for CNI {', '.join(sorted(asked))}",
            hint=f"versions known here: {', '.join(VERSIONS)}",
        )
    return known


def _flag(value: dict[str, Any], key: str, source: str) -> bool:
    given = value.get(key, False)
    if isinstance(given, str) and given.lower() in ("true", "false"):
        return given.lower() == "true"  # libcni takes the words as well
    if type(given) is not bool:
        raise _wrong(source, f"`{key}` is neither true nor false")
    return given


def _wrong(source: str, cause: str) -> InvalidInput:
    return InvalidInput(source, cause, hint="see the CNI specification 1.1.0, section 1")
