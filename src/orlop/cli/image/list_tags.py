"""`orlop image list-tags`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, printable
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.transport.locate import Location

DESCRIPTION = "One line a tag, in the registry's order; NAME is looked up at its registry, without mirrors."
EXAMPLES = (
    "orlop image list-tags busybox",
    "orlop image list-tags docker://registry.example.org/private/app --output json",
)
JSON = "an object: `repository`, `tags` (a list)."


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_one_side

    parser.add_argument("name", metavar="NAME", help="[docker://]REGISTRY/REPOSITORY, or docker-archive:PATH")
    add_one_side(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.image.sides import options
    from orlop.image.transport import locate
    from orlop.kit.errors import InvalidInput

    location = locate.parse(arguments.name)
    if location.transport == locate.DOCKER_ARCHIVE:
        from orlop.image.transport.docker_archive import DockerArchiveSource

        archive = DockerArchiveSource(location.path, "", options(context, arguments).cancellation)
        try:
            name, tags = location.path, list(archive.tags())
        finally:
            archive.close()
    elif location.transport == locate.DOCKER:
        name, tags = _at_registry(context, arguments, location)
    else:
        raise InvalidInput(
            arguments.name, f"{location.transport}: has no tags", hint="name a repository of a registry"
        )
    if context.json:
        emit({"repository": name, "tags": tags})
    else:
        for tag in tags:
            print(printable(tag))
    return 0


def _at_registry(
    context: Context, arguments: argparse.Namespace, location: Location
) -> tuple[str, list[str]]:
    from orlop.cli.image.sides import options
    from orlop.image.transport.open import credentials_for, docker_reference, endpoints
    from orlop.image.transport.repository import Repository

    opening = options(context, arguments)
    reference = docker_reference(location)
    repository = Repository(
        endpoints(reference, opening)[-1], opening.settings, opening.cancellation, credentials_for(opening)
    )
    try:
        return reference.name, list(repository.tags())
    finally:
        repository.close()
