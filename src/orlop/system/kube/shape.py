"""A document against the structures of the API: unknown names, classes, types; all problems at once."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any, cast

from msgspec import inspect

from orlop.system.kube.documents import Map, Seq, Value
from orlop.system.kube.fields import TABLE, Field
from orlop.system.kube.problem import Path, Problem
from orlop.system.kube.quantity import Quantity
from orlop.system.kube.wire import Wire

_INT64 = 2**63
_SHOWN = 60


class Shape:
    """Collects `problems` and `warnings`; what it returns has the honoured fields only."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def structure(self, value: Value, kind: type[Wire], path: Path = ()) -> dict[str, Any]:
        """`value` as msgspec.convert takes it, once `problems` is empty."""
        if not isinstance(value, Map):
            self._expected("a mapping", value, path)
            return {}
        rows = TABLE[kind]
        types = field_types(kind)
        shaped: dict[str, Any] = {}
        for name, given in value.items():
            here = (*path, name)
            row = rows.get(name)
            if row is None:
                self.problems.append(Problem(here, _unknown(name, rows)))
            elif given == "" and isinstance(types.get(name), inspect.LiteralType):
                continue  # the API server gives the default to an enumeration that is empty
            elif given is not None and self._is_kept(row, given, here) and name in types:
                shaped[name] = self._value(given, types[name], here)
        for name in required_fields(kind):
            if name not in shaped:
                self.problems.append(Problem((*path, name), "is required"))
        return shaped

    def _is_kept(self, row: Field, given: Value, path: Path) -> bool:
        """Whether the value goes on; says so where its field's class wants it to be said."""
        if row.kind == "honoured":
            return True
        if given == "" or given == [] or given == {} or given in row.accepts:
            return True
        if row.kind == "refused":
            self.problems.append(Problem(path, f"is not supported: {row.why}"))
            return False
        self.warnings.append(Problem(path, f"has no effect: {row.why}"))
        return True

    def _value(self, value: Value, kind: inspect.Type, path: Path) -> Any:
        match kind:
            case inspect.UnionType():
                return self._union(value, kind, path)
            case inspect.StructType():
                return self.structure(value, cast(type[Wire], kind.cls), path)
            case inspect.VarTupleType():
                return self._sequence(value, kind, path)
            case inspect.DictType():
                return self._mapping(value, kind, path)
            case inspect.LiteralType():
                return self._literal(value, kind, path)
            case inspect.CustomType():
                return self._quantity(value, path)
            case inspect.BoolType():
                return value if isinstance(value, bool) else self._expected("true or false", value, path)
            case inspect.IntType():
                return self._integer(value, path)
            case _:
                return self._text(value, path)

    def _union(self, value: Value, kind: inspect.UnionType, path: Path) -> Any:
        kinds = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        if len(kinds) == 1:
            return self._value(value, kinds[0], path)
        if isinstance(value, str):  # the API's IntOrString
            return self._text(value, path)
        if _is_integer(value):
            return self._integer(value, path)
        return self._expected("a whole number or text", value, path)

    def _sequence(self, value: Value, kind: inspect.VarTupleType, path: Path) -> Any:
        if not isinstance(value, Seq):
            return self._expected("a list", value, path)
        return [self._value(item, kind.item_type, (*path, number)) for number, item in enumerate(value)]

    def _mapping(self, value: Value, kind: inspect.DictType, path: Path) -> Any:
        if not isinstance(value, Map):
            return self._expected("a mapping", value, path)
        if isinstance(kind.value_type, inspect.StrType):
            return {
                key: "" if text is None else self._string(text, (*path, key)) for key, text in value.items()
            }
        return {key: self._value(item, kind.value_type, (*path, key)) for key, item in value.items()}

    def _literal(self, value: Value, kind: inspect.LiteralType, path: Path) -> Any:
        if value in kind.values and isinstance(value, str):
            return value
        return self._expected(f"one of {', '.join(filter(None, map(str, kind.values)))}", value, path)

    def _quantity(self, value: Value, path: Path) -> Any:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                return str(Quantity.parse(str(value)))
            except ValueError:
                pass
        return self._expected("a quantity, such as 100m, 0.5, 128974848 or 1Gi", value, path)

    def _integer(self, value: Value, path: Path) -> Any:
        if not _is_integer(value):
            return self._expected("a whole number", value, path)
        assert isinstance(value, int | float)
        if not -_INT64 <= value < _INT64:
            return self._expected("a number of 64 bits", value, path)
        return int(value)

    def _text(self, value: Value, path: Path) -> Any:
        if isinstance(value, str) and "\0" in value:
            return self._expected("text without NUL", value, path)
        return self._string(value, path)

    def _string(self, value: Value, path: Path) -> Any:
        return value if isinstance(value, str) else self._expected("text", value, path)

    def _expected(self, what: str, value: Value, path: Path) -> None:
        quotes = " (put it in quotes)" if what == "text" and isinstance(value, bool | int | float) else ""
        self.problems.append(Problem(path, f"expected {what}, got {_described(value)}{quotes}"))


@cache
def field_types(kind: type[Wire]) -> dict[str, inspect.Type]:
    """The structure's fields by their names on the wire."""
    return {field.encode_name: field.type for field in _info(kind).fields}


@cache
def required_fields(kind: type[Wire]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in _info(kind).fields if field.required)


def _info(kind: type[Wire]) -> inspect.StructType:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info


def _is_integer(value: Value) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _unknown(name: str, rows: dict[str, Field]) -> str:
    lowered = {known.lower(): known for known in rows}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    if near:
        return f"unknown field; did you mean `{lowered[near[0]]}`?"
    return f"unknown field; known here: {', '.join(sorted(rows))}"


def _described(value: Value) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:_SHOWN]!r}"
        case Seq():
            return "a list"
        case _:
            return "a mapping"
