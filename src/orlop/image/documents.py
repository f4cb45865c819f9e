"""JSON from a registry: bounded by its reader, read strictly here.

A key that stands twice in one object is refused: parsers disagree on which one counts, and that disagreement
has been used to show one image to a checker and another to a runtime.
"""

from __future__ import annotations

import json

from orlop.kit.errors import Corrupt

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any


def read_object(data: bytes, subject: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises Corrupt for anything else, named by `subject`."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            raise Corrupt(
                subject, "has a key twice in one object", hint="have the image built and pushed anew"
            )
        return found

    try:
        document = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise Corrupt(
            subject, f"is not JSON: {error}"[:300], hint="see what the registry serves there"
        ) from None
    if not isinstance(document, dict):
        raise malformed(subject, "is not a JSON object")
    return document


def malformed(subject: str, cause: str) -> Corrupt:
    return Corrupt(
        subject, cause, hint="the image is broken where it was built: have it built and pushed anew"
    )


def text(document: dict[str, Any], key: str, subject: str, *, default: str = "") -> str:
    value = document.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise malformed(subject, f"`{key}` is not a string")
    return value


def texts(document: dict[str, Any], key: str, subject: str) -> tuple[str, ...]:
    value = document.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(subject, f"`{key}` is not a list of strings")
    return tuple(value)


def mapping(document: dict[str, Any], key: str, subject: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise malformed(subject, f"`{key}` is not an object")
    return value


def text_mapping(document: dict[str, Any], key: str, subject: str) -> dict[str, str]:
    value = mapping(document, key, subject)
    if not all(isinstance(item, str) for item in value.values()):
        raise malformed(subject, f"`{key}` has a value that is not a string")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
