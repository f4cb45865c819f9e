"""`orlop image pull`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.each import each
from orlop.cli.output import emit
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.auth import Credentials
    from orlop.image.pull import Pulled

DESCRIPTION = """Prints the image's ID. Registries, mirrors and short names are as in
containers-registries.conf(5), credentials as in containers-auth.json(5). Interrupted, it goes on
where it was."""
EXAMPLES = (
    "orlop image pull busybox",
    "orlop image pull --platform linux/arm64 docker.io/library/debian:12",
    "orlop image pull --creds ada:secret registry.example.org/private/app@sha256:" + "0" * 64,
)
JSON = """a list of objects: `id`, `digest`, `name`, `fetched_layers`, `bytes`."""


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import CERTIFICATES

    add = parser.add_argument
    add("names", metavar="IMAGE", nargs="+", help="[REGISTRY/]REPOSITORY[:TAG][@DIGEST]")
    add("-q", "--quiet", action="store_true", help="no progress")
    add(
        "--policy",
        choices=("always", "missing", "newer", "never"),
        default="always",
        help="when to ask the registry",
    )
    add("--platform", metavar="OS/ARCH[/VARIANT]", help="another than this machine's")
    add(
        "--signature-policy",
        metavar="FILE",
        default="",
        help="instead of [image] policy and the usual policy.json",
    )
    add("--creds", metavar="USER:PASSWORD", help="instead of those in auth.json")
    add("--authfile", metavar="FILE", default="", help="instead of the usual places (REGISTRY_AUTH_FILE)")
    add("--tls-verify", choices=("true", "false"), help="false: also plain HTTP and unknown certificates")
    add("--cert-dir", metavar="DIR", default="", help=CERTIFICATES)


def run(context: Context, arguments: argparse.Namespace) -> int:
    pulled: list[Pulled] = []

    def fetch(name: str) -> None:
        done = pull(
            context,
            name,
            policy=arguments.policy,
            platform=arguments.platform,
            credentials=arguments.creds,
            auth_file=arguments.authfile,
            tls_verify=None if arguments.tls_verify is None else arguments.tls_verify == "true",
            certificates=arguments.cert_dir,
            signature_policy=arguments.signature_policy,
            quiet=arguments.quiet,
        )
        pulled.append(done)
        if not context.json:
            print(done.id, flush=True)

    code = each(context, arguments.names, fetch)
    if context.json:
        emit(pulled)
    return code


def pull(
    context: Context,
    name: str,
    *,
    policy: str = "missing",
    platform: str | None = None,
    credentials: str | None = None,
    auth_file: str = "",
    tls_verify: bool | None = None,
    certificates: str = "",
    signature_policy: str = "",
    quiet: bool = False,
) -> Pulled:
    """Fetch one image into the node's store, with progress on a terminal. `credentials` is user:password."""
    import asyncio  # here: `run` needs none of this where the image is stored already

    from orlop.cli.progress import shown
    from orlop.image.pull import ImageSettings
    from orlop.image.pull import pull as fetch

    settings = context.config.section("image", ImageSettings)
    if signature_policy:
        settings = ImageSettings(**{**vars(settings), "policy": signature_policy})
    with shown(quiet=quiet) as progress:
        return asyncio.run(
            fetch(
                name,
                context.store,
                settings=settings,
                platform=platform,
                credentials=_credentials(credentials),
                auth_file=auth_file,
                tls_verify=tls_verify,
                certificates=certificates,
                progress=progress,
                policy=policy,
            )
        )


def _credentials(text: str | None) -> Credentials | None:
    if text is None:
        return None
    user, colon, password = text.partition(":")
    if not user or not colon:
        from orlop.kit.errors import InvalidInput

        raise InvalidInput("--creds", "is not USER:PASSWORD", hint="write it as --creds ada:secret")
    from orlop.image.auth import Credentials

    return Credentials(user, password)
