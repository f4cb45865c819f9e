"""`orlop remove`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.pod.context import Pods

DESCRIPTION = """With all it has: root file system, log, and the pod that `orlop run` made for it. A running
one is refused unless --force."""
EXAMPLES = ("orlop remove web", "orlop remove --force web db", "orlop remove --all")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="CONTAINER", nargs="*", help="POD/CONTAINER, POD with only one, or an ID")
    add("-f", "--force", action="store_true", help="kill it if it runs; absent is no error")
    add(
        "-a", "--all", action="store_true", help="every container that does not run (with --force, every one)"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.errors import InvalidInput, NotFound

    if bool(arguments.names) == arguments.all:
        raise InvalidInput("orlop remove", "needs either containers or --all", hint="see: orlop ps --all")
    pods = context.pods

    def remove(name: str) -> None:
        try:
            remove_with_pod(pods, name, force=arguments.force)
        except NotFound:
            if not arguments.force:
                raise
        else:
            print(name)

    names = arguments.names
    if arguments.all:
        names = [c.id for c in pods.containers() if arguments.force or c.state != "running"]
    return each(context, names, remove, at_once=True)


def remove_with_pod(pods: Pods, name: str, *, force: bool) -> None:
    """Remove a container, and its pod where that was made by `orlop run` for it alone."""
    from orlop.kit.errors import Conflict
    from orlop.pod.remove_container import remove_container
    from orlop.pod.remove_sandbox import remove_sandbox

    container = pods.container(name)
    sandbox = pods.sandbox(container.sandbox_id)
    if container.state == "running" and not force:
        raise Conflict(
            f"container {name}", "is running", hint=f"orlop stop {name}, or orlop remove --force {name}"
        )
    remove_container(pods, container.id, force=force)
    if sandbox.config.name == container.config.name and not pods.containers(sandbox.id):
        remove_sandbox(pods, sandbox.id)
