"""`orlop store check`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, printable
from orlop.cli.parser import Parser

DESCRIPTION = """Compares the records with what is on disk, every layer and every blob byte by byte, and looks
for what interrupted work left. What is not repaired (or not asked to be) is an error, exit code 7."""
EXAMPLES = ("orlop store check", "orlop store check --repair")
JSON = """`clean`, `images`, `layers`, `blobs`, `leftovers` (numbers), `problems`: a list of `object`,
`cause`, `repaired`."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="remove what is broken, so that a pull mends it"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    report = context.store.check(repair=arguments.repair)
    if context.json:
        emit({"clean": report.clean, **vars(report)})
    else:
        for problem in report.problems:
            state = "repaired" if problem.repaired else "BROKEN"
            print(f"{state}  {printable(problem.object)}: {printable(problem.cause)}")
        counts = f"{report.images} images, {report.layers} layers and {report.blobs} blobs"
        print(f"{counts} checked, {len(report.problems)} problems")
    if report.clean:
        return 0
    from orlop.kit.errors import Corrupt

    left = sum(not problem.repaired for problem in report.problems)
    hint = "pull the images again"
    if not arguments.repair:
        hint = "repair it with: orlop store check --repair, or pull the images again, which keeps them"
    raise Corrupt(f"store {context.node.root}", f"{left} problems are left", hint=hint)
