"""Hostile YAML to plain values, each with its line.

Scalars are read as Kubernetes reads them (sigs.k8s.io/yaml: YAML 1.1 booleans such as `on`, no sexagesimals,
dates are text). Size, depth and the work of aliases are bounded, a key that stands twice is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from orlop.kit import limits
from orlop.system.kube.problem import InvalidDeclaration, Path

Value: TypeAlias = "str | int | float | bool | Map | Seq | None"

_TAG = "tag:yaml.org,2002:"
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(word for base in ("y", "yes", "true", "on") for word in (base, base.title(), base.upper()))
_FALSE = frozenset(
    word for base in ("n", "no", "false", "off") for word in (base, base.title(), base.upper())
)
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_NUMBER = 400


class Map(dict[str, Value]):
    """A mapping; `lines` has the line (from 1) of each key."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class Seq(list[Value]):
    """A sequence; `lines` has the line of each item."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int] = []


def documents(text: bytes, *, source: str) -> list[tuple[int, Value]]:
    """The documents that are not empty, each with its number in the file, from 1.

    Raises InvalidDeclaration naming the line.
    """
    if len(text) > limits.YAML_SIZE:
        raise InvalidDeclaration(source, [f"is longer than {limits.YAML_SIZE} bytes"], hint="split the file")
    try:
        found = list(_Builder(yaml.parse(text, Loader=yaml.CSafeLoader), source).documents())
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidDeclaration(source, [f"{line}is not YAML: {error.problem or error.context}"]) from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise InvalidDeclaration(source, [f"is not YAML: {error}".replace("\n", " ")]) from error
    return [(number, value) for number, value in enumerate(found, start=1) if value is not None]


def line_of(value: Value, path: Path) -> int:
    """The line of what `path` leads to, or of the last part of it that is there; 0 for the root."""
    line = 0
    for part in path:
        if isinstance(value, Map) and part in value:
            line, value = value.lines[str(part)], value[str(part)]
        elif isinstance(value, Seq) and isinstance(part, int) and part < len(value):
            line, value = value.lines[part], value[part]
        else:
            break
    return line


class _Builder:
    """Puts the parser's events together. An anchor's `_cost` is charged anew for each of its aliases."""

    def __init__(self, events: Iterator[Any], source: str) -> None:
        self._events = events
        self._source = source
        self._anchors: dict[str, tuple[Value, int]] = {}
        self._cost = 0

    def documents(self) -> Iterator[Value]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                yield self._node(next(self._events), 1)

    def _node(self, event: Any, depth: int) -> Value:
        before = self._cost
        if depth > limits.YAML_DEPTH:
            raise self._refused(event, f"is nested more than {limits.YAML_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._charge(event, limits.YAML_NODE)
        if isinstance(event, yaml.ScalarEvent):
            self._charge(event, len(event.value))
            value: Value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(event, depth)
        else:
            value = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._cost - before)
        return value

    def _alias(self, event: Any) -> Value:
        if event.anchor not in self._anchors:
            raise self._refused(event, f"`*{event.anchor}` stands before the end of `&{event.anchor}`")
        value, cost = self._anchors[event.anchor]
        self._charge(event, cost)
        return value

    def _sequence(self, start: Any, depth: int) -> Seq:
        self._check_tag(start, "seq")
        items = Seq()
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.lines.append(event.start_mark.line + 1)
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, start: Any, depth: int) -> Map:
        self._check_tag(start, "map")
        values, merges = Map(), []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if _is_merge(event):
                merges.append((event, self._node(next(self._events), depth + 1)))
                continue
            key = self._key(event, depth)
            if key in values:
                raise self._refused(event, f"key {key!r} stands twice, first in line {values.lines[key]}")
            values.lines[key] = line
            values[key] = self._node(next(self._events), depth + 1)
        for event, merged in merges:
            self._merge(event, values, merged)
        return values

    def _merge(self, event: Any, values: Map, merged: Value) -> None:
        for each in merged if isinstance(merged, Seq) else [merged]:
            if not isinstance(each, Map):
                raise self._refused(event, "`<<` takes a mapping")
            for key in each.keys() - values.keys():
                values[key], values.lines[key] = each[key], each.lines[key]

    def _key(self, event: Any, depth: int) -> str:
        key = self._node(event, depth + 1)
        if isinstance(key, Map | Seq) or key is None:
            raise self._refused(event, "a key is text")
        if isinstance(key, bool):
            return "true" if key else "false"
        return str(key)

    def _scalar(self, event: Any) -> Value:
        if event.tag is None or event.tag == "!":
            return self._plain(event) if event.implicit[0] else str(event.value)
        if event.tag == _TAG + "str":
            return str(event.value)
        if event.tag == _TAG + "binary":
            return self._binary(event)
        value = self._plain(event)
        kinds: dict[str, type | tuple[type, ...]] = {"null": type(None), "bool": bool, "int": int}
        kinds["float"] = (int, float)
        if not event.tag.startswith(_TAG) or not isinstance(value, kinds.get(event.tag[len(_TAG) :], ())):
            raise self._refused(event, f"tag {event.tag} does not fit")
        return value

    def _plain(self, event: Any) -> Value:
        text = str(event.value)
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if _NOT_JSON.fullmatch(text):
            raise self._refused(event, f"{text} is not a number that JSON has; put it in quotes")
        if len(text) > _LONGEST_NUMBER:
            return text
        if _INTEGER.fullmatch(text) and (number := _integer(text)) is not None:
            return number
        if _FLOAT.fullmatch(text) and abs(real := float(text)) != float("inf"):
            return real
        return text

    def _binary(self, event: Any) -> str:
        try:
            return base64.b64decode("".join(event.value.split()), validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise self._refused(event, "is not text in base64, as !!binary says") from error

    def _check_tag(self, event: Any, kind: str) -> None:
        if event.tag not in (None, "!", _TAG + kind):
            raise self._refused(event, f"tag {event.tag} does not fit")

    def _charge(self, event: Any, cost: int) -> None:
        self._cost += cost
        if self._cost > limits.YAML_EXPANDED:
            raise self._refused(event, f"is more than {limits.YAML_EXPANDED} bytes with its aliases expanded")

    def _refused(self, event: Any, cause: str) -> InvalidDeclaration:
        return InvalidDeclaration(self._source, [f"line {event.start_mark.line + 1}: {cause}"])


def _is_merge(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]


def _integer(text: str) -> int | None:
    """Go's strconv.ParseInt with base 0: a leading 0 is octal. None where no digit is left."""
    digits = text.replace("_", "")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = "0o" + digits[1:]
    try:
        return sign * int(digits, 0)
    except ValueError:
        return None
