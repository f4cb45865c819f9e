"""Ignore files: `.containerignore`, `.dockerignore`. Later patterns win; `!` brings back.

A path is left out where the last pattern that means it, or a folder above it, does not begin with `!`:
moby's patternmatcher, which BuildKit and buildah use (containerignore(5)).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from orlop.build.containerfile.lex import trim
from orlop.build.context.pattern import Pattern, clean
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded

_BOM = b"\xef\xbb\xbf"


class Ignore:
    """The patterns of an ignore file, of --exclude or of --parents. Thread-safe."""

    def __init__(self, patterns: Iterable[str], subject: str = ".containerignore") -> None:
        """Raises InvalidInput for a pattern that cannot be, LimitExceeded for too many."""
        self._patterns: list[tuple[Pattern, bool]] = []
        self._folders: dict[
            str, tuple[bool, ...]
        ] = {}  # what was found for folders: asked for again and again
        self._lock = threading.Lock()
        for text in patterns:
            cleaned = trim(text)
            if not cleaned:
                continue
            cleaned = clean(cleaned)
            brings_back = cleaned.startswith("!")
            if brings_back:
                cleaned = cleaned[1:]
                if not cleaned:
                    raise InvalidInput(subject, "a `!` without a pattern", hint="write !PATTERN")
            self._patterns.append((Pattern(cleaned, subject), brings_back))
            if len(self._patterns) > limits.IGNORE_PATTERNS:
                raise LimitExceeded(
                    subject, f"more than {limits.IGNORE_PATTERNS} patterns", hint="use patterns for folders"
                )

    @property
    def brings_back(self) -> bool:
        """Whether something below an excluded folder may be included."""
        return any(brings_back for _, brings_back in self._patterns)

    def excludes(self, path: str) -> bool:
        """Whether `path` (relative, "/" between parts) is left out, itself or by a folder above it."""
        if path in ("", "."):
            return False
        excluded = False
        for (_, brings_back), meant in zip(self._patterns, self._meant(path), strict=True):
            if meant:
                excluded = not brings_back
        return excluded

    def _meant(self, path: str) -> tuple[bool, ...]:
        """Of each pattern, whether it means the path or a folder above it."""
        above, slash, _ = path.rpartition("/")
        before = self._of_folder(above) if slash else (False,) * len(self._patterns)
        return self._with(before, path)

    def _of_folder(self, path: str) -> tuple[bool, ...]:
        """As `_meant` of a folder, from the nearest one above that is known down to it."""
        unknown: list[str] = []
        known: tuple[bool, ...] | None = (False,) * len(self._patterns)
        with self._lock:
            while path and (known := self._folders.get(path)) is None:
                unknown.append(path)
                path = path.rpartition("/")[0]
            found = known if known is not None else (False,) * len(self._patterns)
            if len(self._folders) > _REMEMBERED:
                self._folders.clear()
            for folder in reversed(unknown):
                found = self._folders[folder] = self._with(found, folder)
        return found

    def _with(self, above: tuple[bool, ...], path: str) -> tuple[bool, ...]:
        """What `above` says of the folder above, and what the patterns say of the path itself."""
        return tuple(
            known or pattern.matches(path) for (pattern, _), known in zip(self._patterns, above, strict=True)
        )


_REMEMBERED = 10_000


def parse(data: bytes) -> list[str]:
    """The patterns of an ignore file's text: comments and blank lines gone, cleaned as moby does."""
    found = []
    for line in data.removeprefix(_BOM).decode(errors="surrogateescape").split("\n"):
        if line.startswith("#"):
            continue
        pattern = trim(line)
        if not pattern:
            continue
        brings_back = pattern.startswith("!")
        if brings_back:
            pattern = trim(pattern[1:])
        if pattern:
            pattern = clean(pattern)
            if len(pattern) > 1 and pattern.startswith("/"):
                pattern = pattern[1:]
        found.append("!" * brings_back + pattern)
    return found
