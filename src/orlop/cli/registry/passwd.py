"""`orlop registry passwd`."""

from __future__ import annotations

import argparse
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput

DESCRIPTION = """Write a user and the bcrypt hash of a password into a file for `orlop registry serve
--users`, as htpasswd -B does. The password is asked for, or read from standard input. A server that runs
takes it over."""
EXAMPLES = (
    "orlop registry passwd users ada",
    "orlop registry passwd --stdin users ada",
    "orlop registry passwd --delete users ada",
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="made if it is absent")
    add("user", metavar="USER", help="whose password")
    add("--stdin", action="store_true", help="read the password from standard input, one line")
    add("--delete", action="store_true", help="take the user away")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.registry import passwords

    password = None
    if not arguments.delete:
        password = _password(from_stdin=arguments.stdin or not sys.stdin.isatty())
    passwords.write(arguments.file, arguments.user, password)
    return 0


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    import getpass

    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise InvalidInput("the password", "was not the same twice", hint="try again")
    return first
