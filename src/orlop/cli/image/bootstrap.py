"""`orlop image bootstrap`."""

from __future__ import annotations

import argparse
import os

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = """Makes an image from a distribution's packages with mmdebstrap, where no registry has one, and
names it as the registry would: docker.io/library/debian:SUITE. The same state of the archive gives the same
image on any machine."""
EXAMPLES = ("orlop image bootstrap debian bookworm",)
JSON = """an object: `id`, `names`."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("distribution", metavar="DISTRIBUTION", choices=("debian",), help="debian")
    add("suite", metavar="SUITE", help="such as bookworm, trixie or stable")
    add("--variant", default="minbase", help="how much of it, in mmdebstrap's words (default: minbase)")
    add("--include", metavar="PACKAGES", default="", help="further packages, with commas between them")
    add("--mirror", metavar="URL", default="", help="instead of Debian's own")
    add("--platform", metavar="OS/ARCH", default="", help="another than this machine's")
    add("--timestamp", metavar="SECONDS", type=int, help="no time in it is later (default: the suite's date)")
    add(
        "--name",
        metavar="NAME",
        action="append",
        default=[],
        help="instead of docker.io/library/debian:SUITE",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.build.bootstrap import Wanted, architecture_of, bootstrap
    from orlop.build.build import canonical
    from orlop.cli.progress import shown

    names = tuple(canonical(name) for name in arguments.name) or (
        f"docker.io/library/debian:{arguments.suite}",
    )
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    wanted = Wanted(
        suite=arguments.suite,
        variant=arguments.variant,
        include=tuple(part for part in arguments.include.split(",") if part),
        mirror=arguments.mirror,
        architecture=architecture_of(arguments.platform) if arguments.platform else "",
        epoch=arguments.timestamp if not epoch.isdecimal() else int(epoch),
    )
    with shown() as progress:
        meter = progress.meter(f"debian {arguments.suite}", None)
        meter.note("installing packages")
        image_id = bootstrap(context.store, wanted, names)
        meter.done()
    if context.json:
        emit({"id": image_id, "names": names})
    else:
        print(image_id)
    return 0
