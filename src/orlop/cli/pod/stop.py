"""`orlop pod stop`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser
from orlop.kit import limits

DESCRIPTION = """All its containers at once, then it leaves the network: its addresses and ports are free. A
stopped one is fine. A played pod ends by its own hooks and grace period, and stays stopped until its file is
played again."""
EXAMPLES = ("orlop pod stop web", "orlop pod stop --time 30 web db")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="POD", nargs="+", help="a name, NAMESPACE/NAME or (the start of) an ID")
    grace = f"of grace where it was not played ({limits.STOP_GRACE})"
    add("-t", "--time", metavar="SECONDS", type=float, default=limits.STOP_GRACE, help=grace)


def run(context: Context, arguments: argparse.Namespace) -> int:
    def stop(name: str) -> None:
        stop_pod(context, name, max(0.0, arguments.time))
        print(name)

    return each(context, arguments.names, stop, at_once=True)


def stop_pod(context: Context, name: str, grace: float) -> None:
    """Stop it, and keep the supervisor from starting it again. Raises NotFound."""
    from orlop.cli.pod.find import find

    pod = find(context, name)
    if pod.status is not None:
        import asyncio

        from orlop.system.halt import halt

        asyncio.run(halt(context.node, [pod.status.uid]))
    elif pod.sandbox is not None:
        from orlop.pod.stop_sandbox import stop_sandbox

        stop_sandbox(context.pods, pod.sandbox.id, grace)
