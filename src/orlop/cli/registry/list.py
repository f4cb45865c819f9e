"""`orlop registry list`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, size, table
from orlop.cli.parser import Parser

DESCRIPTION = """What `orlop registry serve` serves from this node's store: repositories, or the tags of one.
SIZE counts blobs once that several images share."""
EXAMPLES = ("orlop registry list", "orlop registry list library/busybox", "orlop registry list --output json")
JSON = """a list of objects: of all `name`, `tags`, `manifests` (numbers), `size` (bytes); of one repository
`name` (the tag, empty where none leads to the manifest), `digest`, `media_type`, `size`."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("repository", metavar="REPOSITORY", nargs="?", help="its tags")


def run(context: Context, arguments: argparse.Namespace) -> int:
    repositories = context.store.repositories
    if arguments.repository:
        tags = repositories.tag_usage(arguments.repository)
        if context.json:
            emit(tags)
            return 0
        rows = [(tag.name or "<none>", tag.digest, size(tag.size)) for tag in tags]
        table(("TAG", "DIGEST", "SIZE"), rows)
        return 0
    found = repositories.usage()
    if context.json:
        emit(found)
        return 0
    table(
        ("REPOSITORY", "TAGS", "MANIFESTS", "SIZE"),
        [(each.name, str(each.tags), str(each.manifests), size(each.size)) for each in found],
    )
    return 0
