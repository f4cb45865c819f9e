"""`orlop exec`."""

from __future__ import annotations

import argparse

from orlop.cli.container import values
from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = """What stands behind CONTAINER belongs to the command. It gets the container's environment,
folder and user unless told otherwise. The exit code is the command's; 125 to 127 as with `orlop run`."""
EXAMPLES = ("orlop exec web ls -l /srv", "orlop exec -it web/nginx sh", "orlop exec -u nobody -e A=1 web env")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="pass standard input on")
    add("-t", "--tty", action="store_true", help="give it a terminal")
    add(
        "-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="a variable, or this shell's"
    )
    add("--env-file", metavar="FILE", action="append", default=[], help="lines NAME=VALUE")
    add("-w", "--workdir", metavar="DIR", default="", help="where it starts")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="name or number")
    add("container", metavar="CONTAINER", help="POD/CONTAINER, POD with only one, or an ID")
    add("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="what to run")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.pod.exec_container import exec_attached

    if not arguments.command:
        from orlop.kit.errors import InvalidInput

        raise InvalidInput(
            "orlop exec", "needs a command", hint=f"such as: orlop exec {arguments.container} ls"
        )
    return exec_attached(
        context.pods,
        arguments.container,
        arguments.command,
        stdin=0 if arguments.interactive else None,
        stdout=1,
        stderr=2,
        terminal=arguments.tty,
        env=values.environment(arguments.env_file, arguments.env),
        cwd=arguments.workdir,
        user=arguments.user,
    )
