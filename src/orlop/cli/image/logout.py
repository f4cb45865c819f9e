"""`orlop image logout`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = (
    "Credentials are taken out of containers-auth.json(5), or of the credential helper that it names."
)
EXAMPLES = (
    "orlop image logout registry.example.org",
    "orlop logout --all",
)
JSON = "an object: `registry` (null for all), `file` (or the helper's program)."


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("registry", metavar="REGISTRY", nargs="?", help="as it was logged in to")
    add("-a", "--all", action="store_true", help="every registry of the file")
    add("--authfile", metavar="FILE", default="", help="instead of the usual place (REGISTRY_AUTH_FILE)")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.image.login import forget, forget_all, key_of
    from orlop.image.registries.load import load
    from orlop.kit.errors import InvalidInput

    if bool(arguments.registry) == arguments.all:
        raise InvalidInput("orlop image logout", "wants a registry, or --all", hint="give one of the two")
    key = None if arguments.all else key_of(arguments.registry)
    if key is None:
        where = forget_all(auth_file=arguments.authfile)
    else:
        where = forget(key, auth_file=arguments.authfile, helpers=load().credential_helpers)
    if context.json:
        emit({"registry": key, "file": where})
    else:
        print(f"logged out of {key or 'all registries'} ({where})")
    return 0
