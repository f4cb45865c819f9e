"""`orlop image push`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.copy import JSON as COPY_JSON
from orlop.cli.image.copy import add_conversions, transfer
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = """What was pulled goes out with the digests that it came with. Without DESTINATION it goes
to where its name says. Prints the digest."""
EXAMPLES = (
    "orlop image push busybox",
    "orlop image push busybox registry.example.org/team/busybox:1",
    "orlop push --compress zstd busybox registry.example.org/team/busybox:zstd",
)
JSON = COPY_JSON


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_one_side

    add = parser.add_argument
    add("name", metavar="NAME", help="an image of this node")
    add("destination", metavar="DESTINATION", nargs="?", help="a name at a registry, or TRANSPORT:NAME")
    add_conversions(parser)
    add("--digestfile", metavar="FILE", help="write the digest at the destination there as well")
    add("-q", "--quiet", action="store_true", help="no progress, no digest")
    add_one_side(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.image.transport.locate import STORE, Location, parse

    arguments.all, arguments.platform = True, []
    name = arguments.name
    done = transfer(context, arguments, Location(STORE, name), parse(arguments.destination or name))
    if arguments.digestfile:
        with open(arguments.digestfile, "w", encoding="ascii") as stream:
            stream.write(done.digest)
    if context.json:
        emit(done)
    elif not arguments.quiet:
        print(done.digest)
    return 0
