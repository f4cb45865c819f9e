"""`orlop image remove`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = """An image goes when its last name goes, its layers when no other image has them.
Images that containers stand on are kept, with an error."""
EXAMPLES = (
    "orlop image remove busybox",
    "orlop image remove --all",
    "orlop image remove --force 3f57d9401f8d",
)
JSON = """`removed`: the names and IDs that are gone."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("names", metavar="IMAGE", nargs="*", help="a name, a digest or (the start of) an ID")
    parser.add_argument("-a", "--all", action="store_true", help="every image that no container uses")
    parser.add_argument(
        "-f", "--force", action="store_true", help="all its names at once; absent is no error"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.errors import Conflict, InvalidInput, NotFound

    store = context.store
    if bool(arguments.names) == arguments.all:
        raise InvalidInput("orlop image remove", "needs either images or --all", hint="name what is to go")
    removed: list[str] = []

    def remove(name: str) -> None:
        try:
            removed.extend(store.remove_image(name, force=arguments.force or arguments.all))
        except NotFound:
            if not arguments.force:
                raise
        except Conflict:
            if not arguments.all:
                raise

    names = [image.id for image in store.images()] if arguments.all else arguments.names
    code = each(context, names, remove)
    if context.json:
        emit({"removed": removed})
    else:
        print("".join(f"{name}\n" for name in removed), end="")
    return code
