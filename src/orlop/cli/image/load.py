"""`orlop image load`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput, NotFound, Unavailable

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.image.pull import Pulled
    from orlop.image.transport.locate import Location

DESCRIPTION = """All images of what docker save, podman save, skopeo or `orlop image save` wrote: an archive
(docker-archive, oci-archive), or the folder of an OCI image layout. Prints their IDs. For archives of file
systems there is `orlop image import`."""
EXAMPLES = ("orlop image load -i busybox.tar", "orlop image load --input busybox.tar --name mine:1")
JSON = """a list of objects: `id`, `digest`, `name`, `fetched_layers`, `bytes`."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-i", "--input", metavar="FILE", default="-", help="the archive (standard input)")
    add(
        "-n",
        "--name",
        metavar="NAME",
        default="",
        help="of the image, where the archive says none or another",
    )
    add("-q", "--quiet", action="store_true", help="no progress")


def run(context: Context, arguments: argparse.Namespace) -> int:
    with _spooled(context, arguments.input) as path:
        found = [
            _load(context, arguments, location, name) for location, name in _images(path, arguments.name)
        ]
    if context.json:
        emit(found)
    else:
        for image in found:
            print(image.id)
    return 0


def _images(path: str, wanted: str) -> list[tuple[Location, str]]:
    """Where each image is, and its name. Raises NotFound, Corrupt, InvalidInput."""
    from orlop.image.transport.docker_archive import DockerArchiveSource
    from orlop.image.transport.locate import DOCKER_ARCHIVE, OCI, OCI_ARCHIVE, Location
    from orlop.image.transport.oci import OciSource
    from orlop.image.transport.oci_archive import OciArchiveSource

    tags: tuple[str, ...] = ()
    if os.path.isdir(path):
        kind = OCI
        with contextlib.closing(OciSource(path)) as layout:
            tags = layout.tags()
    else:
        kind = DOCKER_ARCHIVE
        try:
            with contextlib.closing(DockerArchiveSource(path)) as archive:
                tags = archive.tags()
        except NotFound:
            kind = OCI_ARCHIVE
            with contextlib.closing(OciArchiveSource(path)) as layout:
                tags = layout.tags()
    if wanted:
        if len(tags) > 1:
            raise InvalidInput(
                path,
                f"holds {len(tags)} images",
                hint=f"leave --name out, or copy one: {kind}:{path}:{tags[0]}",
            )
        return [(Location(kind, f"{path}:{tags[0]}" if tags else path), wanted)]
    if not tags or any(not {"/", ":"} & set(tag) for tag in tags):
        raise InvalidInput(path, "does not say what its image is called", hint="give --name")
    return [(Location(kind, f"{path}:{tag}"), tag) for tag in tags]


def _load(context: Context, arguments: argparse.Namespace, location: Location, name: str) -> Pulled:
    import asyncio

    from orlop.cli.image.sides import gate_of, transports
    from orlop.cli.progress import shown
    from orlop.image.pull import load
    from orlop.image.settings import ImageSettings
    from orlop.image.transport.open import OpenOptions

    settings = context.config.section("image", ImageSettings)
    opening = OpenOptions(settings=settings)
    gate = gate_of(context, location, settings)
    with shown(quiet=arguments.quiet) as progress:
        return asyncio.run(
            load(
                transports(context).source(location, opening),
                name,
                context.store,
                cancellation=opening.cancellation,
                settings=settings,
                progress=progress,
                gate=gate,
            )
        )


@contextlib.contextmanager
def _spooled(context: Context, path: str) -> Iterator[str]:
    """A path that can be read anywhere, without a colon: of standard input, a copy."""
    if path != "-" and ":" not in path:
        if not os.path.exists(path):
            raise NotFound(path, "no such file", hint="give the path of an archive")
        yield path
        return
    from orlop.store.workspace import work_folder

    with work_folder(context.store.layout.tmp) as work:
        if path != "-":
            os.symlink(os.path.abspath(path), f"{work}/archive")
            yield f"{work}/archive"
            return
        if os.isatty(sys.stdin.fileno()):
            raise InvalidInput(
                "standard input", "is a terminal", hint="redirect an archive into it, or use -i"
            )
        try:
            with open(f"{work}/archive", "wb") as stream:
                while piece := os.read(sys.stdin.fileno(), 1 << 20):
                    stream.write(piece)
        except OSError as error:
            raise Unavailable(
                "standard input", error.strerror or str(error), hint="see that the disk has room (df -h)"
            ) from error
        yield f"{work}/archive"
