"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Iterable


class Ignore:
    """The patterns of a .containerignore: moby's patternmatcher (filepath.Match, `**`, `!`; last one wins)."""

    def __init__(self, patterns: Iterable[str], subject: str = ".containerignore") -> None:
        """Raises InvalidInput for a pattern that cannot be."""
        raise NotImplementedError

    def excludes(self, path: str) -> bool:
        """Whether `path` (relative, "/" between parts) is left out, itself or by a folder above it."""
        raise NotImplementedError


def parse(data: bytes) -> list[str]:
    """The patterns of an ignore file's text: comments and blank lines gone, cleaned as moby does."""
    raise NotImplementedError
