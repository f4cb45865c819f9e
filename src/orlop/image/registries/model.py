"""What registries.conf says, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ALL = "all"
DIGEST_ONLY = "digest-only"
TAG_ONLY = "tag-only"
ENFORCING = "enforcing"
PERMISSIVE = "permissive"
DISABLED = "disabled"


@dataclass(frozen=True)
class Mirror:
    """`pull_from` is "all", "digest-only" or "tag-only"."""

    location: str
    insecure: bool = False
    pull_from: str = ALL


@dataclass(frozen=True)
class Registry:
    """One [[registry]] table. `location` is "" only under a wildcard prefix: the name stays as it is."""

    prefix: str
    location: str
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True)
class RegistriesConf:
    """All files together. `search` is None where no file says anything about it.

    `aliases` maps short names to whole repositories; an empty value takes a former file's alias away.
    """

    registries: tuple[Registry, ...] = ()
    search: tuple[str, ...] | None = None
    short_name_mode: str = PERMISSIVE
    aliases: Mapping[str, str] = field(default_factory=dict)
    credential_helpers: tuple[str, ...] = ()
