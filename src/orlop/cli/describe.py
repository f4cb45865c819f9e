"""Nested values for people: one `key: value` a line, what is inside indented. Programs take --output json."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from orlop.cli.output import printable


def describe(objects: Sequence[Mapping[str, object]]) -> None:
    """Print each object, an empty line between two."""
    for index, value in enumerate(objects):
        if index:
            sys.stdout.write("\n")
        _mapping(value, "")


def _mapping(value: Mapping[str, object], indent: str) -> None:
    for key, inner in value.items():
        _entry(f"{indent}{printable(str(key))}:", inner, indent + "  ")


def _entry(head: str, value: object, indent: str) -> None:
    if isinstance(value, Mapping) and value:
        sys.stdout.write(f"{head}\n")
        _mapping(value, indent)
    elif isinstance(value, list | tuple) and value:
        sys.stdout.write(f"{head}\n")
        for item in value:
            _item(item, indent)
    else:
        sys.stdout.write(f"{head} {_scalar(value)}".rstrip() + "\n")


def _item(value: object, indent: str) -> None:
    if isinstance(value, Mapping) and value:
        marker = "- "
        for key, inner in value.items():
            _entry(f"{indent}{marker}{printable(str(key))}:", inner, indent + "    ")
            marker = "  "
    else:
        _entry(f"{indent}-", value, indent + "  ")


def _scalar(value: object) -> str:
    if value is None or value in ([], {}, ()):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))
