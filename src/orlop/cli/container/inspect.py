"""`orlop inspect`."""

from __future__ import annotations

import argparse

from orlop.cli.container import shown
from orlop.cli.context import Context
from orlop.cli.describe import describe
from orlop.cli.each import each
from orlop.cli.output import emit, plain
from orlop.cli.parser import Parser

DESCRIPTION = "JSON is always a list, one object a container, in the order of the names."
EXAMPLES = ("orlop inspect web", "orlop inspect web/nginx --output json")
JSON = f"a list of objects: {shown.KEYS}, `config` (as it was asked for)."


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "names", metavar="CONTAINER", nargs="+", help="POD/CONTAINER, POD with only one, or an ID"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    found: list[dict[str, object]] = []

    def look(name: str) -> None:
        container = context.pods.container(name)
        sandbox = context.pods.sandbox(container.sandbox_id)
        found.append({**shown.as_json(container, sandbox), "config": plain(container.config)})

    code = each(context, arguments.names, look)
    if context.json:
        emit(found)
    else:
        describe(found)
    return code
