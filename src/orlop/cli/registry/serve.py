"""`orlop registry serve`."""

from __future__ import annotations

import argparse
import sys

from orlop.cli.context import Context
from orlop.cli.parser import Parser

DESCRIPTION = """A registry on this node's store, for one machine and for tests: OCI distribution-spec 1.1,
push, pull, referrers, delete. Blobs that were pulled or built here are not stored twice. Runs in the
foreground until SIGTERM; prints its URL once it answers. Who may do what: docs/registry.md."""
EXAMPLES = (
    "orlop registry serve",
    "orlop registry serve --listen 127.0.0.1:0",
    "orlop registry serve --listen 127.0.0.1:5443 --tls-cert site.crt --tls-key site.key --users users",
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:5000",
        help="or unix:PATH; port 0: any that is free (127.0.0.1:5000)",
    )
    add("--tls-cert", metavar="FILE", default="", help="certificate with its chain (PEM)")
    add("--tls-key", metavar="FILE", default="", help="its key (PEM)")
    add(
        "--tls-client-ca",
        metavar="FILE",
        default="",
        help="only clients with a certificate of this authority",
    )
    add("--users", metavar="FILE", default="", help="users and passwords, as `orlop registry passwd` writes")
    add("--access", metavar="FILE", default="", help="rules: WHO REPOSITORIES RIGHTS in each line")
    add(
        "--anonymous",
        choices=("none", "pull", "all"),
        default="",
        help="what clients without a name may do (all on loopback without --users, else none)",
    )
    add("--read-only", action="store_true", help="no pushes and no deletions")
    add("--sparse", action="store_true", help="take manifests that name what is not there")


def run(context: Context, arguments: argparse.Namespace) -> int:
    import asyncio
    import logging

    from orlop.kit import log, systemd
    from orlop.registry.serve import serve
    from orlop.registry.settings import RegistrySettings

    level = logging.DEBUG if context.verbose else logging.INFO
    log.to_stderr(level=level, form="auto", journal=systemd.under_journal())

    def ready(url: str) -> None:
        print(url, flush=True)

    settings = RegistrySettings(
        listen=arguments.listen,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        tls_client_ca=arguments.tls_client_ca,
        users=arguments.users,
        access=arguments.access,
        anonymous=arguments.anonymous,
        read_only=arguments.read_only,
        sparse=arguments.sparse,
        ready=ready,
    )
    asyncio.run(serve(context.store, settings))
    sys.stderr.flush()
    return 0
