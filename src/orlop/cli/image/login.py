"""`orlop image login`."""

from __future__ import annotations

import argparse
import sys

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.auth import Credentials

DESCRIPTION = """Asks for what is not given, where there is a terminal. The registry is asked before anything
is written; then containers-auth.json(5), which podman and skopeo read too, or the credential helper that
it names."""
EXAMPLES = (
    "orlop image login --username ada --password-stdin registry.example.org",
    "orlop login --authfile auth.json -u ada --password-stdin registry.example.org/team",
)
JSON = "an object: `registry`, `user`, `file` (or the helper's program)."
_LONGEST = 64 * 1024  # bytes of a password


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import CERTIFICATES

    add = parser.add_argument
    add("registry", metavar="REGISTRY", help="HOST[:PORT][/NAMESPACE]; docker.io for Docker Hub")
    add("-u", "--username", metavar="USER", help="who logs in")
    add("-p", "--password", metavar="TEXT", help="others can see it among the processes: better from stdin")
    add("--password-stdin", action="store_true", help="read the password (or token) from standard input")
    add("--authfile", metavar="FILE", default="", help="instead of the usual place (REGISTRY_AUTH_FILE)")
    add("--tls-verify", choices=("true", "false"), help="false: also plain HTTP and unknown certificates")
    add("--cert-dir", metavar="DIR", default="", help=CERTIFICATES)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.image.login import key_of, login
    from orlop.image.settings import ImageSettings
    from orlop.image.transport.open import OpenOptions

    key = key_of(arguments.registry)
    verify = arguments.tls_verify
    options = OpenOptions(
        settings=context.config.section("image", ImageSettings),
        auth_file=arguments.authfile,
        tls_verify=None if verify is None else verify == "true",
        certificates=arguments.cert_dir,
    )
    credentials = _asked(arguments)
    where = login(key, credentials, options)
    if context.json:
        emit({"registry": key, "user": credentials.user, "file": where})
    else:
        print(f"logged in to {key} as {credentials.user} ({where})")
    return 0


def _asked(arguments: argparse.Namespace) -> Credentials:
    from orlop.image.auth import Credentials
    from orlop.kit.errors import InvalidInput

    user = arguments.username
    if arguments.password is not None and arguments.password_stdin:
        raise InvalidInput("--password", "contradicts --password-stdin", hint="give one of the two")
    given = arguments.password_stdin or arguments.password is not None
    if not sys.stdin.isatty() and not (user and given):
        raise InvalidInput(
            "orlop image login",
            "there is no terminal to ask on",
            hint="give --username, and the password by --password-stdin",
        )
    if not user:
        print("Username: ", end="", file=sys.stderr, flush=True)
        user = sys.stdin.readline().strip()
    if arguments.password is not None:
        password = arguments.password
    elif arguments.password_stdin:
        password = sys.stdin.buffer.read(_LONGEST).decode(errors="replace").rstrip("\r\n")
    else:
        import getpass

        password = getpass.getpass("Password: ")
    if not user or ":" in user or not password:
        raise InvalidInput(
            "orlop image login", "user and password are wanted, the user without a colon", hint="try again"
        )
    return Credentials(user, password)
