"""`orlop image mount`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = "Mounted twice is mounted once. `orlop image unmount` takes it away; a reboot does, too."
EXAMPLES = ("orlop image mount busybox",)
JSON = """`image` (ID) and `path`."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    path = context.store.mount_image(arguments.image)
    if context.json:
        emit({"image": context.store.image(arguments.image).id, "path": path})
    else:
        print(path)
    return 0
