"""`orlop pod remove`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser

DESCRIPTION = """With its containers, network and files. One whose containers run is refused unless --force.
What `orlop play` declared is not declared any more, as with `orlop play --down`."""
EXAMPLES = ("orlop pod remove web", "orlop pod remove --force web db")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="POD", nargs="*", help="a name, NAMESPACE/NAME or (the start of) an ID")
    add("-f", "--force", action="store_true", help="kill what runs in it; absent is no error")
    add("-a", "--all", action="store_true", help="every pod")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.errors import Conflict, InvalidInput, NotFound
    from orlop.pod.remove_sandbox import remove_sandbox
    from orlop.system.halt import played
    from orlop.system.play_down import play_down

    if bool(arguments.names) == arguments.all:
        raise InvalidInput("orlop pod remove", "needs either pods or --all", hint="see: orlop pod list")
    pods = context.pods

    def remove(name: str) -> None:
        try:
            sandbox = pods.sandbox(name)
        except NotFound:
            if arguments.force:
                return
            raise
        if not arguments.force and pods.containers(sandbox.id, state="running"):
            hint = f"orlop pod stop {name}, or orlop pod remove --force {name}"
            raise Conflict(f"pod {name}", "has containers that run", hint=hint)
        if played(context.node, sandbox.config.uid):
            import asyncio

            key = f"{sandbox.config.namespace}/{sandbox.config.name}"
            asyncio.run(play_down(context.node, names=[key]))
        else:
            remove_sandbox(pods, sandbox.id)
        print(name)

    names = [sandbox.id for sandbox in pods.sandboxes()] if arguments.all else arguments.names
    return each(context, names, remove, at_once=True)
