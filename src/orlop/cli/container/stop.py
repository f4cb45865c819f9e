"""`orlop stop`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser
from orlop.kit import limits

DESCRIPTION = """Its stop signal, a time of grace, then SIGKILL. One that has ended already is fine. What
`orlop play` declared is started again by the supervisor: take that away with `orlop play --down`."""
EXAMPLES = ("orlop stop web", "orlop stop --time 30 web/nginx db", "orlop stop --all")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="CONTAINER", nargs="*", help="POD/CONTAINER, POD with only one, or an ID")
    add("-a", "--all", action="store_true", help="every container that runs")
    add(
        "-t",
        "--time",
        metavar="SECONDS",
        type=float,
        default=limits.STOP_GRACE,
        help=f"of grace ({limits.STOP_GRACE})",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.pod.stop_container import stop_container

    if bool(arguments.names) == arguments.all:
        from orlop.kit.errors import InvalidInput

        raise InvalidInput("orlop stop", "needs either containers or --all", hint="see: orlop ps")
    pods = context.pods

    def stop(name: str) -> None:
        stop_container(pods, pods.container(name).id, max(0.0, arguments.time))
        print(name)

    names = (
        [container.id for container in pods.containers(state="running")] if arguments.all else arguments.names
    )
    return each(context, names, stop, at_once=True)
