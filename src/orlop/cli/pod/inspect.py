"""`orlop pod inspect`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.describe import describe
from orlop.cli.each import each
from orlop.cli.output import emit, plain
from orlop.cli.parser import Parser
from orlop.cli.pod import shown
from orlop.cli.pod.find import find

DESCRIPTION = "JSON is always a list, one object a pod, in the order of the names."
EXAMPLES = ("orlop pod inspect web", "orlop pod inspect web --output json")
JSON = f"a list of objects: {shown.KEYS}, `addresses`, `config` (as it was asked for)."


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "names", metavar="POD", nargs="+", help="a name, NAMESPACE/NAME or (the start of) an ID"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    found: list[dict[str, object]] = []

    def look(name: str) -> None:
        pod = find(context, name)
        sandbox = pod.sandbox
        more = {} if sandbox is None else {"addresses": sandbox.addresses, "config": sandbox.config}
        found.append({**shown.as_json(pod), **{key: plain(value) for key, value in more.items()}})

    code = each(context, arguments.names, look)
    if context.json:
        emit(found)
    else:
        describe(found)
    return code
