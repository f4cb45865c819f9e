"""`orlop supervise`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = """Restarts, back-off, probes, hooks and log rotation of what `orlop play` declared, until
SIGTERM or --stop; the containers go on running. `orlop play` starts one where none runs; under systemd,
start it with the machine. At most one runs for a node."""
EXAMPLES = ("orlop supervise", "orlop supervise --stop")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--stop", action="store_true", help="stop the one that runs; none is fine")
    add("--on-demand", action="store_true", help="end when nothing is declared any more")


def run(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.stop:
        from orlop.system.supervise.start import stop

        print("stopped" if asyncio.run(stop(context.node)) else "none was running")
        return 0
    from orlop.system.supervise.supervise import supervise

    if not context.verbose:
        import logging

        from orlop.kit.log import to_stderr

        to_stderr(level=logging.INFO)

    def ready() -> None:
        print(f"supervising {context.node.root}", file=sys.stderr, flush=True)

    asyncio.run(supervise(context.node, context.config, ready=ready, on_demand=arguments.on_demand))
    return 0
