"""`orlop pod remove`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.parser import Parser
from orlop.kit import limits

DESCRIPTION = """With its containers, network and files; what runs is stopped first. A played pod is not
declared any more afterwards; its claims keep their data."""
EXAMPLES = ("orlop pod remove web", "orlop pod remove --force web db", "orlop pod remove --all")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="POD", nargs="*", help="a name, NAMESPACE/NAME or (the start of) an ID")
    add("-f", "--force", action="store_true", help="kill what runs in it at once; absent is no error")
    add("-a", "--all", action="store_true", help="every pod")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.pod.shown import everything
    from orlop.kit.errors import InvalidInput, NotFound

    if bool(arguments.names) == arguments.all:
        raise InvalidInput("orlop pod remove", "needs either pods or --all", hint="see: orlop pod list")

    def remove(name: str) -> None:
        try:
            remove_pod(context, name, at_once=arguments.force)
        except NotFound:
            if not arguments.force:
                raise
        else:
            print(name)

    names = arguments.names
    if arguments.all:
        names = [p.sandbox.id if p.sandbox else p.status.key if p.status else "" for p in everything(context)]
    return each(context, names, remove, at_once=True)


def remove_pod(context: Context, name: str, *, at_once: bool) -> None:
    """Undeclare it if it was played, and remove all that there is of it. Raises NotFound."""
    from orlop.cli.pod.find import find
    from orlop.pod.remove_sandbox import remove_sandbox
    from orlop.pod.stop_sandbox import stop_sandbox

    pod = find(context, name)
    if pod.sandbox is not None and (at_once or pod.status is None):
        stop_sandbox(context.pods, pod.sandbox.id, 0 if at_once else limits.STOP_GRACE)
    if pod.status is not None:
        import asyncio

        from orlop.system.play_down import play_down

        asyncio.run(play_down(context.node, names=[pod.status.key]))
    elif pod.sandbox is not None:
        remove_sandbox(context.pods, pod.sandbox.id)
