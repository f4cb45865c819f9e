"""`orlop completion SHELL`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = """Where it goes: bash, /etc/bash_completion.d/orlop; zsh, a folder of $fpath as _orlop;
tcsh, source it from ~/.tcshrc."""
EXAMPLES = ("orlop completion bash", "orlop completion zsh")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose script")


def run(context: Context, arguments: argparse.Namespace) -> int:
    print(script(arguments.shell))
    return 0


def script(shell: str) -> str:
    """The completion script, made from the very parsers that parse."""
    import shtab

    from orlop.cli.tree import root

    return str(shtab.complete(root(), shell))
