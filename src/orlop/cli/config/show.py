"""`orlop config show`."""

from __future__ import annotations

import argparse
import json
import sys

from orlop.cli.context import SECTIONS, Context
from orlop.cli.output import emit, plain
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput

DESCRIPTION = """What is printed is TOML: it can be saved as a configuration file. Behind each key stands the
file that said it, or `default`."""
EXAMPLES = (
    "orlop config show",
    "orlop config show cri serve",
    "orlop config show --changed",
    "orlop config show --defaults --output json",
)
JSON = """section -> key -> {`value`, `origin` (a file, or `default`)}."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("sections", metavar="SECTION", nargs="*", help="only these sections (all)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--changed", action="store_true", help="only keys that a file says")
    which.add_argument("--defaults", action="store_true", help="what would be without any file")


def run(context: Context, arguments: argparse.Namespace) -> int:
    names = arguments.sections or sorted(SECTIONS)
    for name in names:
        if name not in SECTIONS:
            known = ", ".join(sorted(SECTIONS))
            raise InvalidInput(f"[{name}]", "no such section", hint=f"one of {known}")
    found = {name: _section(context, name, defaults=arguments.defaults) for name in names}
    if arguments.changed:
        found = {name: {k: v for k, v in keys.items() if v[1] != "default"} for name, keys in found.items()}
    if context.json:
        emit(
            {
                name: {
                    key: {"value": plain(value), "origin": origin} for key, (value, origin) in keys.items()
                }
                for name, keys in found.items()
            }
        )
    else:
        _toml(found)
    return 0


def _section(context: Context, name: str, *, defaults: bool) -> dict[str, tuple[object, str]]:
    """Key -> (value, origin), in the order of the settings."""
    import importlib

    module, _, schema_name = SECTIONS[name].rpartition(".")
    schema = getattr(importlib.import_module(module), schema_name)
    if defaults:
        return {key: (value, "default") for key, value in vars(schema()).items()}
    settings = context.config.section(name, schema)
    origin = context.config.origin
    return {key: (value, origin.get((name, key), "default")) for key, value in vars(settings).items()}


def _toml(found: dict[str, dict[str, tuple[object, str]]]) -> None:
    first = True
    for name, keys in found.items():
        if not keys:
            continue
        sys.stdout.write(f"{'' if first else chr(10)}[{name}]\n")
        first = False
        lines = [(f"{key} = {_value(value)}", origin) for key, (value, origin) in keys.items()]
        wide = min(max(len(line) for line, _ in lines), 60)
        for line, origin in lines:
            sys.stdout.write(f"{line.ljust(wide)}  # {_comment(origin)}\n")


def _value(value: object) -> str:
    """A string, number, truth or list of strings as TOML has it (its basic strings are JSON's)."""
    if isinstance(value, tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
