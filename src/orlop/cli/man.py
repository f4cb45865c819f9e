"""`orlop man`."""

from __future__ import annotations

import argparse
import os

from orlop import __version__
from orlop.cli.commands import COMMANDS
from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = "One page a command (orlop.1, orlop-image-pull.1, ...), made from the parsers of the commands."
EXAMPLES = ("orlop man --directory /usr/local/share/man/man1",)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--directory", metavar="DIR", default=".", help="where to write (this folder)")


def run(context: Context, arguments: argparse.Namespace) -> int:
    os.makedirs(arguments.directory, exist_ok=True)
    for name, text in pages().items():
        path = os.path.join(arguments.directory, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        print(path)
    return 0


def pages() -> dict[str, str]:
    """File name -> man(7) text."""
    from orlop.cli.tree import ABOUT, parsers

    top = Parser((), ABOUT)
    top.add_argument("command", metavar="COMMAND", help="one of those below")
    made = {"orlop.1": _page(top, "containers, pods and images of one machine", commands=True)}
    for parser in parsers():
        made[f"{'-'.join(('orlop', *parser.words))}.1"] = _page(parser, COMMANDS[parser.words][1])
    return made


def _page(parser: Parser, summary: str, *, commands: bool = False) -> str:
    from argparse_manpage.manpage import Manpage

    page = Manpage(parser, {"project_name": "Orlop", "version": __version__, "manual_title": "Orlop"})
    page.prog = "-".join(("orlop", *parser.words))
    page.description = summary[0].lower() + summary[1:]
    if commands:
        lines = [f".TP\n.BR {_name(words)} (1)\n{_roff(what)}." for words, (_, what) in COMMANDS.items()]
        page.add_section("commands", "=", "\n".join(lines))
    if parser.examples:
        page.add_section("examples", "=", ".nf\n" + "\n".join(map(_roff, parser.examples)) + "\n.fi")
    page.add_section("exit status", "=", "0 on success; the others are in docs/exit\\-codes.md.")
    return str(page)


def _name(words: tuple[str, ...]) -> str:
    return _roff("-".join(("orlop", *words)))


def _roff(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-")
