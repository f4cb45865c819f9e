"""`orlop registry gc`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, size
from orlop.cli.parser import Parser
from orlop.kit import limits

DESCRIPTION = """Remove what the registry on this node needs no more: abandoned uploads, blobs that no
manifest of their repository names, and the files that then nobody has. Pushes may go on meanwhile: what was
touched within the time of grace stays. The server does the same by itself, but never removes manifests."""
EXAMPLES = ("orlop registry gc", "orlop registry gc --untagged --grace 3600")
JSON = """`uploads`, `manifests`, `blobs`: how many went; `freed` bytes."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--untagged", action="store_true", help="also manifests that no tag, index or subject leads to"
    )
    parser.add_argument(
        "--grace",
        metavar="SECONDS",
        type=float,
        default=limits.REGISTRY_GRACE,
        help="what is younger stays (a day); less than a push takes may break that push",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.errors import InvalidInput
    from orlop.registry.collect import collect

    if arguments.grace < 0:
        raise InvalidInput(f"--grace {arguments.grace:g}", "is in the future", hint="give 0 or more seconds")
    gone = collect(
        context.store,
        grace=arguments.grace,
        untagged=arguments.untagged,
        timeout=context.store.settings.prune_wait,
    )
    if context.json:
        emit(gone)
    else:
        print(
            f"removed {gone.uploads} uploads, {gone.manifests} manifests, {gone.blobs} blobs of repositories;"
            f" {size(gone.freed)} freed"
        )
    return 0
