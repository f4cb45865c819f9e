"""`orlop serve`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput

DESCRIPTION = """The Container Runtime Interface (CRI v1) on a Unix socket, for the kubelet and crictl, over
the same pods and images that the other commands work on. Runs in the foreground until SIGTERM; the containers
go on running."""
EXAMPLES = (
    "orlop serve",
    "orlop serve --listen unix:///run/orlop/orlop.sock",
    "orlop serve --check-config",
    "orlop serve --systemd-units /etc/systemd/system",
)
JSON = """of --check-config: `ok`, `problems` (`error`, `subject`, `cause`, `hint`)."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--check-config", action="store_true", help="say what is wrong with the configuration, and leave")
    add("--systemd-units", metavar="DIR", help="write orlop.service and orlop.socket there, and leave")
    add("--listen", metavar="ADDRESS", default="", help="unix:///PATH of the socket ([cri] listen)")


def run(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.systemd_units is not None:
        return _write_units(arguments.systemd_units)
    if arguments.check_config:
        return _check(context, arguments.listen)
    from orlop.cri.serve import serve

    def ready(path: str) -> None:
        if sys.stderr.isatty():
            print(f"serving {context.node.root} on {path}", file=sys.stderr, flush=True)

    left = asyncio.run(
        serve(context.node, context.load, listen=arguments.listen, verbose=context.verbose, ready=ready)
    )
    if left:  # threads that the interpreter would wait for; what they do survives being cut off
        sys.stderr.flush()
        os._exit(0)
    return 0


def _check(context: Context, listen: str) -> int:
    """Print what is wrong with the configuration, or that nothing is."""
    from orlop.cri.operate.check import check

    problems = check(context.node, context.load, listen)
    if context.json:
        from orlop.cli.output import emit

        emit({"ok": not problems, "problems": [problem.as_json() for problem in problems]})
    else:
        for problem in problems:
            print(f"error: {problem}\nhint: {problem.hint}", file=sys.stderr)
        if not problems:
            print("the configuration is right")
    return InvalidInput.exit_code if problems else 0


def _write_units(folder: str) -> int:
    """orlop.service and orlop.socket, for the program that runs now."""
    from orlop.cri.operate.units import write

    for path in write(folder, sys.argv[0]):
        print(path)
    return 0
