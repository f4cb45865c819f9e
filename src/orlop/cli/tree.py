"""All commands as one argparse tree, for what looks at them all: completion scripts, manual pages, docs.

Nothing that runs a command imports this: it builds every parser there is.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from orlop.cli.commands import ALIASES, COMMANDS, NOUNS
from orlop.cli.parser import Parser, add_globals, build

ABOUT = "Orlop runs containers: images, a store, pods and their supervisor on one machine."


def parsers() -> Iterator[Parser]:
    """One parser a command, in the table's order."""
    for words in COMMANDS:
        yield build(words)


def root() -> Parser:
    """`orlop` with every noun and verb below it, aliases included."""
    top = Parser((), ABOUT)
    nouns = _below(top, "command", "COMMAND")
    verbs: dict[str, Any] = {}
    for words, (_, summary) in COMMANDS.items():
        aliases = [
            alias[-1] for alias, target in ALIASES.items() if target == words and alias[:-1] == words[:-1]
        ]
        where = nouns
        if len(words) > 1:
            noun = words[0]
            if noun not in verbs:
                group = nouns.add_parser(noun, words=(noun,), help=NOUNS[noun])
                verbs[noun] = _below(group, "verb", "VERB")
            where = verbs[noun]
        where.add_parser(words[-1], words=words, help=summary, aliases=aliases)
    add_globals(top)
    return top


def _below(parser: Parser, dest: str, metavar: str) -> argparse._SubParsersAction[Any]:
    factory: Any = _made
    return parser.add_subparsers(dest=dest, metavar=metavar, parser_class=factory)


def _made(*, words: tuple[str, ...], prog: str, **_: object) -> Parser:
    return build(words) if words in COMMANDS else Parser(words, NOUNS[words[0]] + ".")
