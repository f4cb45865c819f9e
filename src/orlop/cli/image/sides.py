"""What the commands that speak with two places have in common: credentials, TLS, retries."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.auth import Credentials
    from orlop.image.policy.gate import Gate
    from orlop.image.settings import ImageSettings
    from orlop.image.transport.locate import Location
    from orlop.image.transport.open import OpenOptions, Transports

_TLS = "false: also plain HTTP and unknown certificates"
CERTIFICATES = "*.crt, *.cert and *.key instead of those in certs.d"


def add_one_side(parser: Parser) -> None:
    """Options of a command that speaks with one registry."""
    add = parser.add_argument
    add("--creds", metavar="USER:PASSWORD", help="instead of those in auth.json")
    add("--authfile", metavar="FILE", default="", help="instead of the usual places (REGISTRY_AUTH_FILE)")
    add("--tls-verify", choices=("true", "false"), help=_TLS)
    add("--cert-dir", metavar="DIR", help=CERTIFICATES)
    add("--retry-times", metavar="N", type=int, help="attempts after a request that failed in passing")


def add_two_sides(parser: Parser) -> None:
    """The same for a source and a destination, each of which may have its own."""
    add_one_side(parser)
    add = parser.add_argument
    for side, name in (("src", "source"), ("dest", "destination")):
        add(f"--{side}-creds", metavar="USER:PASSWORD", help=f"--creds of the {name}")
        add(f"--{side}-authfile", metavar="FILE", default="", help=f"--authfile of the {name}")
        add(f"--{side}-tls-verify", choices=("true", "false"), help=f"--tls-verify of the {name}")
        add(f"--{side}-cert-dir", metavar="DIR", help=f"--cert-dir of the {name}")


def add_policy(parser: Parser) -> None:
    parser.add_argument(
        "--signature-policy",
        metavar="FILE",
        default="",
        help="instead of [image] policy and the usual policy.json",
    )


def gate_of(context: Context, location: Location, settings: ImageSettings) -> Gate | None:
    """What the policy wants of a source; an image of this node's store is judged here, by what it kept.

    Raises PolicyRefused, InvalidInput.
    """
    from orlop.image.policy.gate import location_gate
    from orlop.image.transport import locate

    if location.transport != locate.STORE:
        return location_gate(location, settings.policy)
    from orlop.store.admit import admit_copy

    admit_copy(context.store, location.rest, settings.policy)
    return None


def options(context: Context, arguments: argparse.Namespace, side: str = "") -> OpenOptions:
    """What was said about one side ("src", "dest"; "" where there is one). Raises InvalidInput."""
    from dataclasses import replace

    from orlop.image.settings import ImageSettings
    from orlop.image.transport.open import OpenOptions
    from orlop.kit.errors import InvalidInput

    def said(name: str) -> str | None:
        own: str | None = getattr(arguments, f"{side}_{name}", None) if side else None
        return own or getattr(arguments, name)

    settings = context.config.section("image", ImageSettings)
    if arguments.retry_times is not None:
        if not 0 <= arguments.retry_times <= 100:
            raise InvalidInput("--retry-times", "is not between 0 and 100", hint="give it another number")
        values = {**vars(settings), "attempts": arguments.retry_times + 1}
        settings = ImageSettings(**values)
    if getattr(arguments, "signature_policy", ""):
        settings = ImageSettings(**{**vars(settings), "policy": arguments.signature_policy})
    verify = said("tls_verify")
    return replace(
        OpenOptions(),
        settings=settings,
        credentials=credentials(said("creds")),
        auth_file=said("authfile") or "",
        tls_verify=None if verify is None else verify == "true",
        certificates=said("cert_dir") or "",
    )


def credentials(text: str | None) -> Credentials | None:
    if text is None:
        return None
    from orlop.image.auth import Credentials
    from orlop.kit.errors import InvalidInput

    user, colon, password = text.partition(":")
    if not user or not colon:
        raise InvalidInput("--creds", "is not USER:PASSWORD", hint="write it as --creds ada:secret")
    return Credentials(user, password)


def transports(context: Context) -> Transports:
    """Every transport, this node's store among them."""
    from orlop.store.transport import transports

    return transports(context.store)
