"""`orlop help [NOUN [VERB]]`."""

from __future__ import annotations

import argparse

from orlop.cli.commands import COMMANDS, NOUNS
from orlop.cli.context import Context
from orlop.cli.parser import Parser, build, command_line

DESCRIPTION = "Without a command it lists all of them. The same as --help behind the command."
EXAMPLES = ("orlop help", "orlop help image", "orlop help image pull")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("words", metavar="WORD", nargs="*", help="a noun, a verb, or both")


def run(context: Context, arguments: argparse.Namespace) -> int:
    words: list[str] = arguments.words
    if not words:
        print(overview(), end="")
    elif len(words) == 1 and words[0] in NOUNS:
        print(of_noun(words[0]), end="")
    else:
        print(build(command_line(words)[0]).format_help(), end="")
    return 0


def overview() -> str:
    lines = ["usage: orlop [options] COMMAND ...", ""]
    lines += ["Orlop runs containers: images, a store, pods and their supervisor on one machine.", ""]
    lines += ["commands:"]
    lines += [f"  {words[0]:<14} {summary}" for words, (_, summary) in COMMANDS.items() if len(words) == 1]
    lines += ["", "nouns, each with its verbs:"]
    for noun, about in NOUNS.items():
        verbs = "|".join(words[1] for words in COMMANDS if len(words) > 1 and words[0] == noun)
        lines += [f"  {noun:<14} {about}", f"  {'':<14} {verbs}"]
    lines += ["", "options of every command, before or behind it:"]
    lines += ["  --root DIR --state DIR --config FILE   which node; also ORLOP_ROOT, _STATE, _CONFIG"]
    lines += ["  --output table|json                    for people, or for programs"]
    lines += ["  --verbose, --help, --version", "", "examples:"]
    lines += ["  orlop run --rm docker.io/library/busybox echo hello", "  orlop help run"]
    return "\n".join(lines) + "\n"


def of_noun(noun: str) -> str:
    lines = [f"usage: orlop {noun} VERB ...", "", NOUNS[noun] + ".", "", "verbs:"]
    verbs = {words[1]: summary for words, (_, summary) in COMMANDS.items() if words[0] == noun}
    lines += [f"  {verb:<14} {summary}" for verb, summary in verbs.items()]
    lines += ["", "examples:", *(f"  orlop {noun} {verb} --help" for verb in list(verbs)[:1])]
    return "\n".join(lines) + "\n"
