"""`orlop serve`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = """The Container Runtime Interface (CRI v1) on a Unix socket, for the kubelet and crictl, over
the same pods and images that the other commands work on. Runs in the foreground until SIGTERM; the containers
go on running."""
EXAMPLES = ("orlop serve", "orlop serve --listen unix:///run/orlop/orlop.sock")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--listen", metavar="ADDRESS", default="", help="unix:///PATH of the socket ([cri] listen)")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cri.serve import serve

    if not context.verbose:
        import logging

        from orlop.kit.log import to_stderr

        to_stderr(level=logging.INFO)

    def ready(path: str) -> None:
        print(f"serving {context.node.root} on {path}", file=sys.stderr, flush=True)

    left = asyncio.run(serve(context.node, context.config, listen=arguments.listen, ready=ready))
    if left:  # threads that the interpreter would wait for; what they do survives being cut off
        sys.stderr.flush()
        os._exit(0)
    return 0
