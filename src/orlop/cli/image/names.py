"""How images are shown: the names that people use, and short IDs."""

from __future__ import annotations

from collections.abc import Iterable

SHORT_ID = 12


def short(digest: str) -> str:
    """Twelve hex digits of a digest or an ID."""
    return digest.rpartition(":")[2][:SHORT_ID]


def familiar(name: str) -> str:
    """The shortest spelling that means the same (`busybox:latest`); what is no reference stays as it is."""
    from orlop.image.reference import Reference
    from orlop.kit.errors import InvalidInput

    try:
        return Reference.parse(name).familiar
    except InvalidInput:
        return name


def familiar_all(names: Iterable[str]) -> list[str]:
    return sorted(map(familiar, names))
