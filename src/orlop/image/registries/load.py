"""Reading registries.conf and its drop-ins: containers-registries.conf(5), containers-registries.conf.d(5).

    $CONTAINERS_REGISTRIES_CONF, else ~/.config/containers/registries.conf, else /etc/containers/...
    /etc/containers/registries.conf.d/*.conf (not with the user's own file), ~/.config/containers/...conf.d;
    $CONTAINERS_REGISTRIES_CONF_DIR instead of both
    the aliases that podman recorded (/var/cache/containers/short-name-aliases.conf; ~/.cache/... for users)

Later files win: a [[registry]] replaces the one with its prefix, aliases are added, other keys replaced.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

from orlop.image.reference import check_registry, check_repository
from orlop.image.registries import model
from orlop.image.registries.model import Mirror, RegistriesConf, Registry
from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.files import read_bounded

SYSTEM_FILE = "/etc/containers/registries.conf"
SYSTEM_FOLDER = "/etc/containers/registries.conf.d"
_USER_FILE = ".config/containers/registries.conf"
_PULL_FROM = (model.ALL, model.DIGEST_ONLY, model.TAG_ONLY)
_MODES = (model.ENFORCING, model.PERMISSIVE, model.DISABLED)
_HINT = "see containers-registries.conf(5)"


def load(environment: Mapping[str, str] | None = None) -> RegistriesConf:
    """Read all files. Raises InvalidInput naming the file and the key that is wrong."""
    main, folders = places(os.environ if environment is None else environment)
    merged = RegistriesConf()
    if main:
        merged = _merge(merged, _read(main, drop_in=False))
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(glob.escape(folder), "*.conf"))):
            merged = _merge(merged, _read(path, drop_in=True))
    recorded = _recorded_aliases(os.environ if environment is None else environment)
    return _merge(merged, _read(recorded, drop_in=True)) if os.path.exists(recorded) else merged


def places(environment: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """(the main file or "", the drop-in folders)."""
    home = environment.get("HOME") or os.path.expanduser("~")
    user_file = os.path.join(home, _USER_FILE)
    chosen_folder = environment.get("CONTAINERS_REGISTRIES_CONF_DIR", "")
    folders: tuple[str, ...] = (chosen_folder,) if chosen_folder else (SYSTEM_FOLDER, user_file + ".d")
    named = environment.get("CONTAINERS_REGISTRIES_CONF", "")
    if named:
        if not os.path.exists(named):
            raise InvalidInput(named, "no such file", hint="correct $CONTAINERS_REGISTRIES_CONF")
        return named, folders
    if os.path.exists(user_file):
        return user_file, (chosen_folder,) if chosen_folder else (user_file + ".d",)
    return (SYSTEM_FILE if os.path.exists(SYSTEM_FILE) else ""), folders


def _recorded_aliases(environment: Mapping[str, str]) -> str:
    if os.getuid() == 0:
        return "/var/cache/containers/short-name-aliases.conf"
    home = environment.get("HOME") or os.path.expanduser("~")
    return os.path.join(home, ".cache/containers/short-name-aliases.conf")


def parse(text: str, path: str = "registries.conf", *, drop_in: bool = False) -> RegistriesConf:
    """One file's content, version 2 or (main file only) version 1. Raises InvalidInput."""
    import tomllib

    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(path, f"is not TOML: {error}", hint="correct the file") from error
    if "registries" in document:
        return _version_1(document, path, drop_in=drop_in)
    mode = _text(document, "short-name-mode", path)
    if mode and mode not in _MODES:
        raise InvalidInput(path, f"short-name-mode is {mode!r}", hint=f"one of {', '.join(_MODES)}")
    search = _texts(document, "unqualified-search-registries", path)
    return RegistriesConf(
        registries=_registries(document, path),
        search=None if search is None else tuple(_location(item, path) for item in search),
        short_name_mode=mode,
        aliases=_aliases(document, path),
        credential_helpers=_texts(document, "credential-helpers", path) or (),
    )


def _read(path: str, *, drop_in: bool) -> RegistriesConf:
    try:
        text = read_bounded(path, limits.CONFIG_FILE_SIZE).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            path, f"cannot be read: {error}", hint="it must be a readable UTF-8 file"
        ) from error
    return parse(text, path, drop_in=drop_in)


def _merge(base: RegistriesConf, later: RegistriesConf) -> RegistriesConf:
    registries = {entry.prefix: entry for entry in (*base.registries, *later.registries)}
    aliases = {**base.aliases, **later.aliases}
    return RegistriesConf(
        registries=tuple(registries.values()),
        search=base.search if later.search is None else later.search,
        short_name_mode=later.short_name_mode or base.short_name_mode,
        aliases={name: value for name, value in aliases.items() if value},
        credential_helpers=later.credential_helpers or base.credential_helpers,
    )


def _registries(document: dict[str, Any], path: str) -> tuple[Registry, ...]:
    tables = document.get("registry", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidInput(path, "`registry` is not a list of tables", hint="write [[registry]]")
    found: dict[str, Registry] = {}
    for table in tables:
        entry = _registry(table, path)
        before = found.setdefault(entry.prefix, entry)
        if (before.insecure, before.blocked) != (entry.insecure, entry.blocked):
            raise InvalidInput(
                path, f"two [[registry]] for {entry.prefix} contradict each other", hint="leave one of them"
            )
        found[entry.prefix] = entry
    return tuple(found.values())


def _registry(table: dict[str, Any], path: str) -> Registry:
    prefix, location = _text(table, "prefix", path), _text(table, "location", path)
    if not prefix and not location:
        raise InvalidInput(path, "a [[registry]] has neither prefix nor location", hint=_HINT)
    prefix = _prefix(prefix or location, path)
    if location or not prefix.startswith("*."):
        location = _location(location or prefix, path)
    by_digest = _flag(table, "mirror-by-digest-only", path)
    if "pull-from-mirror" in table:
        raise InvalidInput(
            path, "pull-from-mirror stands at a registry", hint="put it into [[registry.mirror]]"
        )
    tables = table.get("mirror", [])
    if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
        raise InvalidInput(path, "`mirror` is not a list of tables", hint="write [[registry.mirror]]")
    return Registry(
        prefix,
        location,
        insecure=_flag(table, "insecure", path),
        blocked=_flag(table, "blocked", path),
        mirrors=tuple(_mirror(item, path, by_digest=by_digest) for item in tables),
    )


def _mirror(table: dict[str, Any], path: str, *, by_digest: bool) -> Mirror:
    pull_from = _text(table, "pull-from-mirror", path)
    if pull_from and by_digest:
        raise InvalidInput(path, "pull-from-mirror and mirror-by-digest-only are both set", hint="leave one")
    if pull_from and pull_from not in _PULL_FROM:
        raise InvalidInput(path, f"pull-from-mirror is {pull_from!r}", hint=f"one of {', '.join(_PULL_FROM)}")
    location = _text(table, "location", path)
    if not location:
        raise InvalidInput(path, "a [[registry.mirror]] has no location", hint=_HINT)
    return Mirror(
        _location(location, path),
        _flag(table, "insecure", path),
        model.DIGEST_ONLY if by_digest else pull_from or model.ALL,
    )


def _version_1(document: dict[str, Any], path: str, *, drop_in: bool) -> RegistriesConf:
    """The format of before 2018: three lists. It never had mirrors, prefixes or drop-ins."""
    if drop_in or {"registry", "unqualified-search-registries", "aliases"} & document.keys():
        raise InvalidInput(path, "version 1 (`[registries.*]`) is mixed with version 2", hint=_HINT)
    lists = {}
    for name in ("search", "insecure", "block"):
        section = document["registries"]
        section = section.get(name, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise InvalidInput(path, f"[registries.{name}] is no table", hint=_HINT)
        lists[name] = tuple(_location(item, path) for item in _texts(section, "registries", path) or ())
    entries = tuple(
        Registry(name, name, insecure=name in lists["insecure"], blocked=name in lists["block"])
        for name in dict.fromkeys((*lists["insecure"], *lists["block"]))
    )
    return RegistriesConf(registries=entries, search=lists["search"], short_name_mode="")


def _aliases(document: dict[str, Any], path: str) -> dict[str, str]:
    table = document.get("aliases", {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise InvalidInput(path, "`aliases` is not a table of strings", hint='write "name" = "registry/name"')
    for name, value in table.items():
        first = name.partition("/")[0]
        if "/" in name and ("." in first or ":" in first or first == "localhost"):
            raise InvalidInput(path, f"alias {name!r} names a registry", hint="an alias is a short name")
        check_repository(name, f"{path}: alias {name}")
        registry, _, repository = value.partition("/")
        if value:
            check_registry(registry, f"{path}: alias {name}")
            check_repository(repository, f"{path}: alias {name}")
            if "." not in registry and ":" not in registry and registry != "localhost":
                raise InvalidInput(path, f"alias {name!r} leads to no registry: {value!r}", hint=_HINT)
    return table


def _prefix(text: str, path: str) -> str:
    """host[:port][/path][:tag|@digest] or *.host."""
    if not text.startswith("*"):
        return _location(text, path)
    if not text.startswith("*.") or "/" in text or ":" in text or "*" in text[2:]:
        raise InvalidInput(path, f"prefix {text!r}", hint="a wildcard is written *.example.com, with no path")
    check_registry(text[2:], f"{path}: prefix {text}")
    return text


def _location(text: str, path: str) -> str:
    if text.startswith(("http://", "https://")):
        raise InvalidInput(path, f"{text!r} is a URL", hint="leave the scheme out: host[:port][/path]")
    location = text.rstrip("/")
    check_registry(location.partition("/")[0], f"{path}: {text}")
    return location


def _text(table: dict[str, Any], key: str, path: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise InvalidInput(path, f"`{key}` is not a string", hint=_HINT)
    return value


def _texts(table: dict[str, Any], key: str, path: str) -> tuple[str, ...] | None:
    if key not in table:
        return None
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidInput(path, f"`{key}` is not a list of strings", hint=_HINT)
    return tuple(value)


def _flag(table: dict[str, Any], key: str, path: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise InvalidInput(path, f"`{key}` is neither true nor false", hint=_HINT)
    return value
