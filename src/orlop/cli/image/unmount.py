"""`orlop image unmount`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser

DESCRIPTION = "What is not mounted is fine."
EXAMPLES = ("orlop image unmount busybox",)


def add_arguments(parser: Parser) -> None:
    parser.add_argument("names", metavar="IMAGE", nargs="+", help="a name, a digest or (the start of) an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    store = context.store

    def unmount(name: str) -> None:
        store.unmount_image(name)

    return each(context, arguments.names, unmount)
