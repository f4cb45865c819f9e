"""`orlop image history`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.list import shown_time
from orlop.cli.image.names import short
from orlop.cli.output import emit, size, table
from orlop.cli.parser import Parser

DESCRIPTION = """The last step first. LAYER is what the step left; steps that only changed the configuration
left none. SIZE is unpacked. What the steps were is what the image says of itself."""
EXAMPLES = ("orlop image history busybox", "orlop image history --no-trunc busybox")
JSON = """a list of objects, the last step first: `layer` (chain ID or null), `created` (RFC 3339 or null),
`created_by`, `size` (bytes, unpacked), `comment`, `author`, `empty` (no layer)."""
_WIDTH = 60


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")
    parser.add_argument("--no-trunc", action="store_true", help="print whole IDs and commands")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the layers' IDs only")


def run(context: Context, arguments: argparse.Namespace) -> int:
    steps = tuple(reversed(context.store.history(arguments.image)))
    if context.json:
        emit(
            [
                {
                    "layer": step.chain_id or None,
                    "created": step.created or None,
                    "created_by": step.created_by,
                    "size": step.size,
                    "comment": step.comment,
                    "author": step.author,
                    "empty": not step.chain_id,
                }
                for step in steps
            ]
        )
        return 0
    identity = str if arguments.no_trunc else short
    if arguments.quiet:
        for step in steps:
            print(identity(step.chain_id) or "<none>")
        return 0
    rows = [
        (
            identity(step.chain_id) or "-",
            shown_time(step.created),
            step.created_by if arguments.no_trunc else _cut(step.created_by),
            size(step.size),
            step.comment if arguments.no_trunc else _cut(step.comment),
        )
        for step in steps
    ]
    table(("LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"), rows)
    return 0


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."
