"""`orlop cp`."""

from __future__ import annotations

import argparse
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput

DESCRIPTION = """One of the two is CONTAINER:PATH, running or not. As with cp -R: into the destination where
that is a folder, else under that name; SOURCE/. means what is in it; - is a tar archive on standard input or
output."""
EXAMPLES = (
    "orlop cp web:/etc/nginx/nginx.conf .",
    "orlop cp ./site/. web/nginx:/usr/share/nginx/html",
    "orlop cp web:/var/log -",
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-a", "--archive", action="store_true", help="keep owners (else the copy is the user's, or root's)")
    add("source", metavar="SOURCE", help="PATH, CONTAINER:PATH or -")
    add("destination", metavar="DESTINATION", help="PATH, CONTAINER:PATH or -")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.pod import copy

    (source, path), (target, where) = _split(arguments.source), _split(arguments.destination)
    if bool(source) == bool(target):
        hint = "such as: orlop cp web:/etc/hosts ."
        raise InvalidInput("orlop cp", "exactly one side must be CONTAINER:PATH", hint=hint)
    skipped: list[str] = []
    if source and where == "-":
        copy.tar_out(context.pods, source, path, sys.stdout.buffer)
    elif target and path == "-":
        copy.tar_in(context.pods, target, where, sys.stdin.buffer)
    elif source:
        skipped = copy.copy_out(context.pods, source, path, where, owners=arguments.archive)
    else:
        skipped = copy.copy_in(context.pods, target, path, where, owners=arguments.archive)
    for name in skipped:
        print(f"warning: {name}: neither file, folder nor link; skipped", file=sys.stderr)
    return 0


def _split(text: str) -> tuple[str, str]:
    """(container, path); the container is "" for a path of this machine (also one with a colon: ./a:b)."""
    name, colon, path = text.partition(":")
    if not colon or not name or name.startswith((".", "/", "~")):
        return "", text
    return name, path or "/"
