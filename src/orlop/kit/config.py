"""The node's configuration: one TOML file and its drop-ins (`orlop.toml`, `orlop.toml.d/*.toml`, in order).

Each package declares its own section as a frozen dataclass with defaults; this module reads the files and
fills such a dataclass, refusing what it does not know. The files are read once, and tomllib is imported only
where a file exists.
"""

from __future__ import annotations

import os

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.files import read_bounded
from orlop.kit.node import DEFAULT_CONFIG, Node

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypeVar

    S = TypeVar("S")


class Config:
    """What the files say. `origin[section, key]` is the file that said it last."""

    def __init__(
        self, values: Mapping[str, Mapping[str, object]], origin: Mapping[tuple[str, str], str]
    ) -> None:
        self._values = values
        self.origin = origin

    @classmethod
    def load(cls, node: Node) -> Config:
        """Read the node's files. Raises InvalidInput where one is malformed or a named one is absent."""
        values: dict[str, dict[str, object]] = {}
        origin: dict[tuple[str, str], str] = {}
        for path in _files(node.config):
            for section, table in _parse(path).items():
                if not isinstance(table, dict):
                    raise InvalidInput(
                        path, f"`{section}` stands outside a section", hint="put it under [section]"
                    )
                values.setdefault(section, {}).update(table)
                origin.update({(section, key): path for key in table})
        return cls(values, origin)

    def section(self, name: str, schema: type[S]) -> S:
        """The section `name` as `schema`, a frozen dataclass of str, int, float, bool or tuple[str, ...].

        Raises InvalidInput naming the file, the key and what was expected.
        """
        given = self._values.get(name, {})
        if not given:
            return schema()
        import dataclasses  # slow to import, and needed only by nodes that are configured
        from typing import get_type_hints

        types = get_type_hints(schema)
        known = {field.name for field in dataclasses.fields(schema)}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for key, value in given.items():
            where = f"{self.origin[name, key]}: [{name}] {key}"
            if key not in known:
                raise InvalidInput(where, "no such key", hint=f"known keys: {', '.join(sorted(known))}")
            values[key] = _converted(where, value, types[key])
        return schema(**values)

    def sections(self) -> list[str]:
        return sorted(self._values)


def _files(path: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(f"{path}.d") if name.endswith(".toml"))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise _unreadable(f"{path}.d", error) from error
    found = [os.path.join(f"{path}.d", name) for name in names]
    if os.path.exists(path):
        return [path, *found]
    if path != DEFAULT_CONFIG and not found:
        raise InvalidInput(path, "no such configuration file", hint="give --config a file that exists")
    return found


def _parse(path: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(read_bounded(path, limits.CONFIG_FILE_SIZE).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(path, f"is not TOML: {error}", hint="correct the file") from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> InvalidInput:
    return InvalidInput(path, f"cannot be read: {error.strerror}", hint="see its owner and mode")


def _converted(where: str, value: object, wanted: Any) -> object:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InvalidInput(where, "is not a list of strings", hint='write it as ["...", "..."]')
    if type(value) is not wanted:
        raise InvalidInput(where, f"is not of type {wanted.__name__}", hint="correct the value")
    return value
