"""`orlop version`."""

from __future__ import annotations

import argparse

from orlop import __version__
from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = ""
EXAMPLES = ("orlop version", "orlop --version", "orlop version --output json")
JSON = """`orlop`, `python`, `kernel`, `architecture`."""


def add_arguments(parser: Parser) -> None:
    pass


def run(context: Context, arguments: argparse.Namespace) -> int:
    if not context.json:
        print(f"orlop {__version__}")
        return 0
    import platform

    emit(
        {
            "orlop": __version__,
            "python": platform.python_version(),
            "kernel": platform.release(),
            "architecture": platform.machine(),
        }
    )
    return 0
