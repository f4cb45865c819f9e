"""`orlop image save`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput, Unavailable

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.image.copy.options import Copied

DESCRIPTION = """As docker load, podman load and `orlop image load` take it; short for `orlop image copy
store:IMAGE FORMAT:FILE:IMAGE`. A file that is there is replaced once the new one is whole."""
EXAMPLES = (
    "orlop image save busybox -o busybox.tar",
    "orlop image save --format oci-archive --file busybox.tar busybox",
)
JSON = """With --file: an object: `source`, `destination`, `digest`, `manifests`, `sent`, `there`, `bytes`."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")
    add("-o", "--file", metavar="FILE", default="-", help="where to (standard output); - is that, too")
    add(
        "--format",
        choices=("docker-archive", "oci-archive"),
        default="docker-archive",
        help="of the file (docker-archive)",
    )
    add("-q", "--quiet", action="store_true", help="no progress")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.files import unique
    from orlop.store.workspace import work_folder

    if arguments.file == "-":
        if os.isatty(sys.stdout.fileno()):
            raise InvalidInput("standard output", "is a terminal", hint="redirect it, or name a file with -o")
        with work_folder(context.store.layout.tmp) as work:
            _save(context, arguments, f"{work}/archive")
            sys.stdout.flush()
            with open(f"{work}/archive", "rb") as stream:
                while os.sendfile(sys.stdout.fileno(), stream.fileno(), None, 1 << 30):
                    pass
        return 0
    partial = f"{os.path.abspath(arguments.file)}.{unique()}.tmp"
    if ":" in partial:
        raise InvalidInput(
            arguments.file, "has a colon in it", hint="save it under another name, then rename"
        )
    try:
        done = _save(context, arguments, partial)
        os.rename(partial, arguments.file)
    except OSError as error:
        raise Unavailable(
            arguments.file, error.strerror or str(error), hint="see that its folder exists and has room"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
    if context.json:
        emit({**vars(done), "destination": f"{arguments.format}:{arguments.file}"})
    return 0


def _save(context: Context, arguments: argparse.Namespace, path: str) -> Copied:
    from orlop.cli.image.sides import gate_of, transports
    from orlop.cli.progress import shown
    from orlop.image.copy.by_name import copy_by_name
    from orlop.image.copy.options import CopyOptions
    from orlop.image.settings import ImageSettings
    from orlop.image.transport.locate import STORE, Location

    source = Location(STORE, arguments.image)
    name = _name(context, arguments.image)
    settings = context.config.section("image", ImageSettings)
    with shown(quiet=arguments.quiet) as progress:
        return copy_by_name(
            source,
            Location(arguments.format, f"{path}:{name}" if name else path),
            CopyOptions(parallel=settings.parallel_blobs, remove_signatures=True),
            transports=transports(context),
            gate=gate_of(context, source, settings),
            progress=progress,
        )


def _name(context: Context, asked: str) -> str:
    """Of the image's names the one that was asked for; "" where it has none."""
    from orlop.image.reference import Reference
    from orlop.kit.errors import InvalidInput

    names = context.store.image(asked).names
    for text in (asked, f"localhost/{asked}"):
        with contextlib.suppress(InvalidInput):
            if (meant := Reference.parse(text).canonical) in names:
                return meant
    return next(iter(names), "")
