"""`orlop image sync`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, printable
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.sync.plan import Task
    from orlop.image.sync.run import Synced

DESCRIPTION = """SOURCE is docker://REPOSITORY[:TAG] (without a tag: all of them), dir:FOLDER (of folders,
as a sync to dir: wrote them), oci:LAYOUT, or yaml:FILE (skopeo's list). DESTINATION is docker://REGISTRY[/PATH],
dir:FOLDER (one folder an image, as skopeo has it) or oci:LAYOUT. Images keep the last part of their
name, with --scoped all of it. What is there with the same digest is not copied again."""
EXAMPLES = (
    "orlop image sync --all docker://docker.io/library/busybox dir:mirror",
    "orlop image sync dir:mirror docker://registry.example.org/mirror",
    "orlop image sync --scoped --keep-going yaml:images.yaml oci:images",
    "orlop image sync --dry-run --output json yaml:images.yaml docker://registry.example.org",
)
JSON = """a list of objects: `source`, `destination`, `action` (copied, there, planned, failed), `digest`,
`sent` (blobs), `bytes`, `error` (null, or an object)."""


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.copy import add_conversions
    from orlop.cli.image.sides import add_policy, add_two_sides

    add = parser.add_argument
    add("source", metavar="SOURCE", help="docker://, dir:, oci: or yaml: and a name")
    add("destination", metavar="DESTINATION", help="docker://, dir: or oci: and a name")
    add("-s", "--src", choices=("docker", "dir", "oci", "yaml"), help="SOURCE is a name of this kind")
    add("-d", "--dest", choices=("docker", "dir", "oci"), help="DESTINATION is a name of this kind")
    add("--scoped", action="store_true", help="keep whole names, the registry's included")
    add("--append-suffix", metavar="TEXT", default="", help="put it behind every tag at the destination")
    add("--dry-run", action="store_true", help="only print what would be copied")
    add("--keep-going", action="store_true", help="go on after an image that fails")
    add("--all", "-a", action="store_true", help="every platform of an index, and the index as it is")
    add(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        action="append",
        default=[],
        help="one platform's image; given again, an index of those",
    )
    add_conversions(parser)
    add("-q", "--quiet", action="store_true", help="no progress, no line for each image")
    add_policy(parser)
    add_two_sides(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.image.sides import options
    from orlop.image.sync import plan
    from orlop.image.sync.run import FAILED, planned

    reading = options(context, arguments, "src")
    found = plan.images(_named(arguments.src, arguments.source), reading)
    tasks = plan.tasks(
        found,
        _named(arguments.dest, arguments.destination),
        scoped=arguments.scoped,
        suffix=arguments.append_suffix,
    )
    done: list[Synced] = []

    def tell(one: Synced) -> None:
        done.append(one)
        _tell(context, one, quiet=arguments.quiet)

    try:
        if arguments.dry_run:
            for one in planned(tasks):
                tell(one)
        else:
            _copy(context, arguments, tasks, tell)
    finally:
        if context.json:
            emit([{**vars(one), "error": one.error.as_json() if one.error else None} for one in done])
    errors = [one.error for one in done if one.action == FAILED and one.error is not None]
    return errors[0].exit_code if errors else 0


def _copy(context: Context, arguments: argparse.Namespace, tasks: list[Task], tell: object) -> None:
    from collections.abc import Callable
    from typing import cast

    from orlop.cli.image.copy import copy_options
    from orlop.cli.image.sides import gate_of, options, transports
    from orlop.cli.progress import shown
    from orlop.image.sync.run import Sync, Synced

    writing = options(context, arguments, "dest")
    asked = copy_options(arguments, writing)
    with shown(quiet=arguments.quiet) as progress:
        sync = Sync(
            transports(context),
            asked,
            writing,
            gates=lambda location: gate_of(context, location, writing.settings),
            progress=progress,
        )
        sync.run(tasks, cast(Callable[[Synced], None], tell), keep_going=arguments.keep_going)


def _tell(context: Context, one: Synced, *, quiet: bool) -> None:
    if one.error is not None:
        from orlop.cli.errors import show

        show(one.error, as_json=context.json)
    if not (context.json or quiet):
        print(printable(f"{one.action} {one.source} {one.destination}"), flush=True)


def _named(kind: str | None, text: str) -> str:
    """skopeo's spelling: --src docker NAME is docker://NAME."""
    if kind is None or text.startswith(f"{kind}:"):
        return text
    return f"docker://{text}" if kind == "docker" else f"{kind}:{text}"
