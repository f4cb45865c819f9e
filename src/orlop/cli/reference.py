"""docs/cli.md, made from the parsers; tests/cli holds the file against this."""

from __future__ import annotations

import argparse

from orlop.cli.commands import ALIASES, NOUNS
from orlop.cli.parser import Parser, add_globals, load, shape

_HEAD = """# The commands

Made from the commands themselves by `make docs`; `orlop help COMMAND` and `orlop man` say the same.
Exit codes: [exit-codes.md](exit-codes.md).
"""


def markdown() -> str:
    """The whole page."""
    from orlop.cli.tree import parsers

    parts = [_HEAD, _globals()]
    noun = ""
    for parser in parsers():
        if len(parser.words) > 1 and parser.words[0] != noun:
            noun = parser.words[0]
            parts.append(f"## orlop {noun}\n\n{NOUNS[noun]}.\n")
        parts.append(_command(parser))
    return "\n".join(parts)


def _globals() -> str:
    parser = Parser((), "")
    add_globals(parser)
    return "## Options of every command\n\nBefore the command or behind it.\n\n" + _table(parser)


def _command(parser: Parser) -> str:
    level = "##" if len(parser.words) == 1 else "###"
    lines = [f"{level} {parser.prog}", "", f"    {parser.synopsis()}", "", str(parser.description), ""]
    also = [" ".join(("orlop", *alias)) for alias, target in ALIASES.items() if target == parser.words]
    if also:
        lines += [f"Also: {', '.join(f'`{name}`' for name in also)}.", ""]
    keys = getattr(load(parser.words), "JSON", "")
    if keys:
        lines += [f"`--output json`: {keys}", ""]
    lines += [_table(parser), "```sh", *parser.examples, "```", ""]
    return "\n".join(lines)


def _table(parser: Parser) -> str:
    everywhere = {"root", "state", "config", "output", "verbose", "help"} if parser.words else set()
    rows = [_row(action) for action in parser.actions() if action.dest not in everywhere]
    return "\n".join(("| argument | what |", "|---|---|", *rows, "")) if rows else ""


def _row(action: argparse.Action) -> str:
    name = shape(action)
    if action.option_strings:
        value = "" if action.nargs == 0 else f" {name}"
        name = ", ".join(action.option_strings) + value
    return f"| `{name.replace('|', chr(92) + '|')}` | {(action.help or '').replace('|', chr(92) + '|')} |"
