"""`orlop attach`."""

from __future__ import annotations

import argparse
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = """From now on what it writes comes here, and signals and what is typed go there; a terminal is
left with ctrl-p ctrl-q. The exit code is the container's."""
EXAMPLES = ("orlop attach web", "orlop attach --no-stdin web/nginx")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--no-stdin", action="store_true", help="only watch: pass no input and no signals on")
    add("container", metavar="CONTAINER", help="POD/CONTAINER, POD with only one, or an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.container.run import exit_code, send
    from orlop.cli.container.streams import OutputClosed, Streams
    from orlop.cli.container.terminal import Detached
    from orlop.pod.attach import attach
    from orlop.pod.wait_container import wait_container

    pods = context.pods
    container = pods.container(arguments.container)
    streams = Streams(
        attach(pods, container.id),
        stdin=container.config.stdin and not arguments.no_stdin,
        tty=container.config.terminal,
        signals=not arguments.no_stdin,
        kill=lambda number: send(context, container.id, number),
        resize=lambda columns, lines: pods.engine.resize(container.id, columns, lines),
    )
    try:
        streams.join()
    except Detached:
        print(f"\n{arguments.container} goes on", file=sys.stderr)
        return 0
    except OutputClosed:
        raise BrokenPipeError from None
    ended = wait_container(pods, container.id)
    return exit_code(ended.state, ended.exit_code)
