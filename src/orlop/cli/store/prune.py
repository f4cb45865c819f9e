"""`orlop store prune`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, size
from orlop.cli.parser import Parser

DESCRIPTION = """Images without a name, layers without an image, blobs that no image and no repository names,
and what interrupted work left. What a container uses stays; so do steps of builds, for two weeks since they
were last of use (--all takes them, too); pulls under way are not disturbed."""
EXAMPLES = ("orlop store prune", "orlop store prune --all")
JSON = """`images`, `layers`, `blobs` (IDs), `leftovers` (a number), `freed` (bytes)."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="every image that no container uses")


def run(context: Context, arguments: argparse.Namespace) -> int:
    pruned = context.store.prune(all_images=arguments.all)
    if context.json:
        emit(pruned)
        return 0
    for kind, names in (("image", pruned.images), ("layer", pruned.layers), ("blob", pruned.blobs)):
        for name in names:
            print(f"{kind} {name}")
    print(f"{size(pruned.freed)} freed")
    return 0
