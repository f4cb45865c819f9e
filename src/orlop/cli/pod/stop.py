"""`orlop pod stop`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser
from orlop.kit import limits

DESCRIPTION = """All its containers at once, then it leaves the network: its addresses and ports are free.
A stopped one is fine. What `orlop play` declared ends by its own hooks and grace period, and stays so until
its file is played again."""
EXAMPLES = ("orlop pod stop web", "orlop pod stop --time 30 web db")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="POD", nargs="+", help="a name, NAMESPACE/NAME or (the start of) an ID")
    add(
        "-t",
        "--time",
        metavar="SECONDS",
        type=float,
        default=limits.STOP_GRACE,
        help=f"of grace ({limits.STOP_GRACE})",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.pod.stop_sandbox import stop_sandbox
    from orlop.system.halt import halt, played

    pods = context.pods

    def stop(name: str) -> None:
        sandbox = pods.sandbox(name)
        if played(context.node, sandbox.config.uid):
            import asyncio

            asyncio.run(halt(context.node, [sandbox.config.uid]))
        else:
            stop_sandbox(pods, sandbox.id, max(0.0, arguments.time))
        print(name)

    return each(context, arguments.names, stop, at_once=True)
