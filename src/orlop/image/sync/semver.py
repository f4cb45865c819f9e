"""Version constraints (`>= 3.12.0`, `^1.2`, `~1.2.3`, `1.x`, `1.2 - 1.4`, `a, b || c`) over tags.

Semantic Versioning 2.0.0, with what Go's Masterminds/semver, skopeo's reader of constraints, adds: a `v` in
front and missing parts are borne, and pre-releases are taken only by constraints that name one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import total_ordering

from orlop.kit.errors import InvalidInput

_VERSION = re.compile(
    r"v?(\d{1,18})(?:\.(\d{1,18}))?(?:\.(\d{1,18}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
_BOUND = re.compile(
    r"\s*(=|==|!=|>=|=>|<=|=<|>|<|~>|~|\^)?\s*"
    r"v?(\d{1,18}|[xX*])(?:\.(\d{1,18}|[xX*]))?(?:\.(\d{1,18}|[xX*]))?"
    r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?\s*,?",
    re.ASCII,
)
_RANGE = re.compile(r"(\S+)\s+-\s+(\S+)")
_ANY = ("x", "X", "*")


@total_ordering
@dataclass(frozen=True)
class Version:
    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """None where `text` is no version."""
        found = _VERSION.fullmatch(text)
        if found is None:
            return None
        major, minor, patch, pre = found.groups()
        return cls(int(major), int(minor or 0), int(patch or 0), tuple(pre.split(".")) if pre else ())

    @property
    def core(self) -> tuple[int, int, int]:
        return self.major, self.minor, self.patch

    def __lt__(self, other: Version) -> bool:
        """Semantic Versioning, section 11."""
        if self.core != other.core:
            return self.core < other.core
        if not self.pre or not other.pre:
            return bool(self.pre) and not other.pre
        return _ranks(self.pre) < _ranks(other.pre)


Bound = Callable[[Version], bool]


class Constraint:
    """Raises InvalidInput for what is none."""

    def __init__(self, text: str) -> None:
        self._choices = [_all_of(choice, text) for choice in text.split("||")]

    def holds(self, tag: str) -> bool:
        """Whether `tag` is a version that fits."""
        version = Version.parse(tag)
        return version is not None and any(
            all(bound(version) for bound in choice) for choice in self._choices
        )


def _all_of(text: str, whole: str) -> list[Bound]:
    spelled = _RANGE.sub(r">=\1 <=\2", text)
    found: list[Bound] = []
    at = 0
    while at < len(spelled.rstrip()):
        match = _BOUND.match(spelled, at)
        if match is None or match.end() == at:
            raise InvalidInput(
                whole[:200], "is no constraint of versions", hint='write it as ">= 3.12.0" or "^1.2"'
            )
        found.append(_bound(match))
        at = match.end()
    if not found:
        raise InvalidInput(whole[:200] or "''", "is no constraint of versions", hint='write ">= 3.12.0"')
    return found


def _bound(match: re.Match[str]) -> Bound:
    operator, *parts, pre = match.groups()
    known = []
    for part in parts:
        if part is None or part in _ANY:
            break
        known.append(int(part))
    low = _filled(known, tuple(pre.split(".")) if pre else ())
    above = _above(operator or "=", known)
    prereleases = bool(low.pre)

    def holds(version: Version) -> bool:
        if version.pre and not prereleases:
            return False
        return _compares(operator or "=", version, low, above)

    return holds


def _compares(operator: str, version: Version, low: Version, above: Version | None) -> bool:
    """`above` is the first version beyond what is meant (None: there is none)."""
    within = version >= low and (above is None or Version(*version.core) < above)
    if operator in (">=", "=>"):
        return version >= low
    if operator in ("<=", "=<"):
        return version < low or within
    if operator == ">":
        return version > low and not within
    if operator == "<":
        return version < low
    return not within if operator == "!=" else within


def _above(operator: str, known: list[int]) -> Version | None:
    """`^` keeps the first part that is not 0, `~` the minor one; else what was not written is free."""
    if not known:
        return None
    if operator == "^":
        place = next((at for at, part in enumerate(known) if part), len(known) - 1)
    elif operator in ("~", "~>"):
        place = min(1, len(known) - 1)
    else:
        place = len(known) - 1
    return _filled([*known[:place], known[place] + 1])


def _filled(parts: list[int], pre: tuple[str, ...] = ()) -> Version:
    major, minor, patch = [*parts, 0, 0, 0][:3]
    return Version(major, minor, patch, pre)


def _ranks(pre: tuple[str, ...]) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre]
