"""`RUN --mount=`: one line of comma-separated fields, each a word or KEY=VALUE (RFC 4180 quoting)."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from typing import Any

from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.flags import meant
from orlop.build.containerfile.model import Mount, Place

KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "rw": "readwrite"}
_KEYS = (
    "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw",
    "id", "sharing", "required", "size", "mode", "uid", "gid", "env",
)  # fmt: skip
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")
_SIZE = re.compile(r"(?a:(\d+(?:\.\d+)?) ?([kKmMgGtTpP]?)(?:[iI]?[bB])?)\Z")
_ID_MAX = 2**32 - 2
_LARGEST = 2**62


def check(option: str, place: Place) -> None:
    """What can be said before variables have values."""
    for field in _fields(option, place):
        key, equals, value = field.partition("=")
        if key.lower() == "from" and equals and "$" in value[:-1]:
            raise bad(
                place,
                "from= of --mount takes no variables",
                "name a stage: FROM $image AS NAME, then from=NAME",
            )


def parse(option: str, place: Place, expand: Callable[[str], str]) -> Mount:
    """One option with its variables replaced. Raises BadContainerfile."""
    values: dict[str, Any] = {}
    kind = "bind"
    for field in _fields(option, place):
        key, equals, value = field.partition("=")
        key = key.lower()
        if key not in _KEYS:
            raise bad(place, f"--mount has no {key!r}", meant(key, _KEYS) or f"it knows {', '.join(_KEYS)}")
        name = _ALIASES.get(key, key)
        if not equals:
            if name not in ("readonly", "readwrite", "required"):
                raise bad(place, f"{field!r} of --mount has no value", f"write {key}=VALUE")
            value = "true"
        else:
            value = expand(value)
        if name == "type":
            kind = value.lower()
            if kind not in KINDS:
                hint = meant(value, KINDS) or f"it knows {', '.join(KINDS)}"
                raise bad(place, f"--mount of the type {value!r}", hint)
            continue
        _set(values, name, value, key, place)
    return _mount(kind, values, place)


def _set(values: dict[str, Any], name: str, value: str, key: str, place: Place) -> None:
    if name in ("readonly", "readwrite", "required"):
        yes = _truth(value, key, place)
        if name == "required":
            values["required"] = yes
        else:
            values["read_only"] = yes if name == "readonly" else not yes
    elif name == "size":
        values["size"] = _size(value, place)
    elif name == "mode":
        if not re.fullmatch(r"(?a:[0-7]{1,6})", value) or int(value, 8) > 0o7777:
            raise bad(place, f"mode={value} of --mount", "give it in octal, 0755 for example")
        values["mode"] = int(value, 8)
    elif name in ("uid", "gid"):
        if not re.fullmatch(r"(?a:\d{1,10})", value) or int(value) > _ID_MAX:
            raise bad(place, f"{name}={value} of --mount", "give a number")
        values[name] = int(value)
    elif name == "sharing":
        if value.lower() not in SHARING:
            hint = meant(value, SHARING) or "it knows shared, private and locked"
            raise bad(place, f"sharing={value} of --mount", hint)
        values["sharing"] = value.lower()
    else:
        values["from_" if name == "from" else name] = value


def _mount(kind: str, values: dict[str, Any], place: Place) -> Mount:
    """What belongs to which type."""
    only = {
        "required": ("secret", "ssh"),
        "size": ("tmpfs",),
        "sharing": ("cache",),
        "mode": ("secret", "ssh", "cache"),
        "uid": ("secret", "ssh", "cache"),
        "gid": ("secret", "ssh", "cache"),
        "env": ("secret",),
        "from_": ("bind", "cache"),
    }
    for name, kinds in only.items():
        if name in values and kind not in kinds:
            shown = name.rstrip("_")
            hint = f"leave it out; it belongs to {' and '.join(kinds)}"
            raise bad(place, f"{shown}= of a --mount of the type {kind}", hint)
    if kind == "secret":
        if not any(values.get(name) for name in ("source", "target", "id")):
            raise bad(place, "a secret without its name", "write --mount=type=secret,id=NAME")
        if values.get("source") and values.get("id"):
            raise bad(place, "a secret with both id= and source=", "keep id=")
    elif kind in ("bind", "cache", "tmpfs") and not values.get("target"):
        raise bad(place, f"a --mount of the type {kind} without target=", "write target=PATH")
    values.setdefault("read_only", kind not in ("cache", "tmpfs"))
    return Mount(kind=kind, **values)


def _fields(option: str, place: Place) -> list[str]:
    try:
        rows = list(csv.reader([option], strict=True))
    except csv.Error as error:
        raise bad(place, f"--mount={option[:100]} cannot be read: {error}", "quote it as CSV") from error
    fields = rows[0] if rows else []
    if not fields:
        raise bad(place, "--mount without anything", "write --mount=type=cache,target=PATH for example")
    return fields


def _truth(value: str, key: str, place: Place) -> bool:
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise bad(place, f"{key}={value} of --mount", f"write {key}, {key}=true or {key}=false")


def _size(value: str, place: Place) -> int:
    found = _SIZE.match(value)
    if found is None or len(value) > 30:
        raise bad(place, f"size={value} of --mount", "give bytes, or a number with k, m or g")
    size = float(found.group(1)) * 1024 ** ("_kmgtp".index(found.group(2).lower() or "_"))
    if size > _LARGEST:
        raise bad(place, f"size={value} of --mount", "give less")
    return int(size)
