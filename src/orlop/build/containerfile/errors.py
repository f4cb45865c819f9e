"""A Containerfile that cannot be built as it is written."""

from __future__ import annotations

from orlop.build.containerfile.model import Place
from orlop.kit.errors import InvalidInput


class BadContainerfile(InvalidInput):
    """`subject` is FILE:LINE."""


def bad(place: Place, cause: str, hint: str) -> BadContainerfile:
    return BadContainerfile(str(place), cause, hint=hint)
