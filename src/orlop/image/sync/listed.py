"""skopeo-sync's YAML: which images of which registries (skopeo-sync(1), "YAML file content").

    registry.example.org:
      images: {busybox: [], redis: ["6", "sha256:..."]}      # [] is every tag
      images-by-tag-regex: {nginx: ^1\\.2[0-9]-alpine$}
      images-by-semver: {alpine: ">= 3.12.0"}
      credentials: {username: ada, password: secret}
      tls-verify: true
      cert-dir: /etc/ship/certs

Every scalar is text, as skopeo takes it: the tag 1.10 is not 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from orlop.image.auth import Credentials
from orlop.image.reference import check_registry
from orlop.image.sync.semver import Constraint
from orlop.image.transport.layout.files import told
from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput

_KEYS = (
    "images",
    "images-by-tag-regex",
    "images-by-semver",
    "credentials",
    "tls-verify",
    "cert-dir",
)
_HINT = "see skopeo-sync(1) for the form of the list"
Choice = Callable[[str], bool]


@dataclass(frozen=True)
class Wanted:
    """Images of one repository: these tags and digests, or those of its tags that `chosen` takes."""

    repository: str
    names: tuple[str, ...] = ()
    chosen: Choice | None = None


@dataclass(frozen=True)
class Registry:
    """One registry of the list, and how to speak with it."""

    name: str
    wanted: tuple[Wanted, ...]
    credentials: Credentials | None = field(default=None, repr=False)
    tls_verify: bool | None = None
    certificates: str = ""


def read(path: str) -> tuple[Registry, ...]:
    """Raises InvalidInput, LimitExceeded, NotFound."""
    with told(path):
        return parse(files.read_bounded(path, limits.CONFIG_FILE_SIZE), path)


def parse(data: bytes, subject: str) -> tuple[Registry, ...]:
    """Raises InvalidInput."""
    try:
        document = yaml.load(data, Loader=_Loader)  # noqa: S506  (BaseLoader makes texts, lists and mappings)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInput(subject, f"is no YAML: {error}"[:500], hint=_HINT) from None
    registries = _mapping(document, subject)
    return tuple(_registry(name, value, f"{subject}: {name}"[:300]) for name, value in registries.items())


class _Loader(yaml.BaseLoader):
    """No aliases, which can grow without end, and no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not taken")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep=deep)
        if isinstance(node, yaml.MappingNode) and len(found) != len(node.value):
            raise yaml.YAMLError("a key stands twice in one mapping")
        return found


def _registry(name: str, value: object, subject: str) -> Registry:
    check_registry(name, subject)
    told_ = _mapping(value, subject)
    unknown = [key for key in told_ if key not in _KEYS]
    if unknown:
        raise InvalidInput(subject, f"unknown key {unknown[0]!r}"[:200], hint=f"one of {', '.join(_KEYS)}")
    wanted = [
        *_by_name(_mapping(told_.get("images"), subject), subject),
        *_by_regex(_mapping(told_.get("images-by-tag-regex"), subject), subject),
        *_by_version(_mapping(told_.get("images-by-semver"), subject), subject),
    ]
    verify = told_.get("tls-verify") or None
    if verify not in (None, "true", "false"):
        raise InvalidInput(subject, "`tls-verify` is neither true nor false", hint=_HINT)
    return Registry(
        name,
        tuple(wanted),
        _credentials(_mapping(told_.get("credentials"), subject), subject),
        None if verify is None else verify == "true",
        _text(told_.get("cert-dir"), subject),
    )


def _by_name(images: Mapping[str, object], subject: str) -> list[Wanted]:
    found = []
    for repository, names in images.items():
        if names in ("", "~", "null"):
            names = []
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise InvalidInput(subject, f"{repository!r} has no list of tags", hint=_HINT)
        everything = None if names else (lambda _: True)
        found.append(Wanted(repository, tuple(dict.fromkeys(names)), everything))
    return found


def _by_regex(images: Mapping[str, object], subject: str) -> list[Wanted]:
    found = []
    for repository, pattern in images.items():
        try:
            compiled = re.compile(_text(pattern, subject))
        except re.error as error:
            raise InvalidInput(
                subject, f"{repository!r}: no regular expression: {error}", hint=_HINT
            ) from None
        found.append(Wanted(repository, chosen=_searches(compiled)))
    return found


def _searches(pattern: re.Pattern[str]) -> Choice:
    return lambda tag: pattern.search(tag) is not None


def _by_version(images: Mapping[str, object], subject: str) -> list[Wanted]:
    return [
        Wanted(repository, chosen=Constraint(_text(text, subject)).holds)
        for repository, text in images.items()
    ]


def _credentials(value: Mapping[str, object], subject: str) -> Credentials | None:
    if not value:
        return None
    return Credentials(_text(value.get("username"), subject), _text(value.get("password"), subject))


def _mapping(value: object, subject: str) -> Mapping[str, Any]:
    if value in (None, "", "~", "null"):
        return {}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidInput(subject, "is not a mapping where one belongs", hint=_HINT)
    return value


def _text(value: object, subject: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(subject, "has something else where a text belongs", hint=_HINT)
    return value
