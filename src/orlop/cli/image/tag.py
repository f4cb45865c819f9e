"""`orlop image tag`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = "A name that another image had moves to this one."
EXAMPLES = ("orlop image tag busybox registry.example.org/tools/busybox:1",)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")
    parser.add_argument("names", metavar="NAME", nargs="+", help="its new name")


def run(context: Context, arguments: argparse.Namespace) -> int:
    for name in arguments.names:
        context.store.tag(arguments.image, name)
    return 0
