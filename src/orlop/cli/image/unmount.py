"""`orlop image unmount`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput

DESCRIPTION = "What is not mounted is fine."
EXAMPLES = ("orlop image unmount busybox", "orlop image unmount --all")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("names", metavar="IMAGE", nargs="*", help="a name, a digest or (the start of) an ID")
    parser.add_argument("--all", "-a", action="store_true", help="every image that is mounted")


def run(context: Context, arguments: argparse.Namespace) -> int:
    if bool(arguments.names) == arguments.all:
        raise InvalidInput("orlop image unmount", "takes images or --all", hint="give one of the two")
    store = context.store
    names = [image_id for image_id, _ in store.mounted_images()] if arguments.all else arguments.names

    def unmount(name: str) -> None:
        store.unmount_image(name)

    return each(context, names, unmount)
