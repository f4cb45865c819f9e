"""`orlop image delete`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.digest import Digest
    from orlop.image.transport.locate import Location

DESCRIPTION = """At a registry the manifest goes, with every tag that leads to it (the registry frees the
space when it next collects garbage); --tag-only takes the tag alone, where the registry can do that.
Images of this node are removed by `orlop image remove`. Prints the digest of what was deleted."""
EXAMPLES = (
    "orlop image delete docker://registry.example.org/team/app:1",
    "orlop image delete oci:images:busybox",
)
JSON = "an object: `name`, `digest`."


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_one_side

    add = parser.add_argument
    add("name", metavar="NAME", help="docker://NAME or oci:PATH:REF")
    add("--tag-only", action="store_true", help="leave the manifest and its other tags")
    add_one_side(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.image.transport import locate
    from orlop.kit.errors import Unsupported

    location = locate.parse(arguments.name, default="")
    if location.transport == locate.DOCKER:
        digest = _at_registry(context, arguments, location)
    elif location.transport == locate.OCI:
        from orlop.image.transport.oci import delete

        digest = delete(location.path, location.reference)
    else:
        hint = "use orlop image remove" if location.transport == locate.STORE else "remove its file or folder"
        raise Unsupported(str(location), f"nothing is deleted from {location.transport}:", hint=hint)
    if context.json:
        emit({"name": str(location), "digest": digest})
    else:
        print(digest)
    return 0


def _at_registry(context: Context, arguments: argparse.Namespace, location: Location) -> Digest:
    from orlop.cli.image.sides import options
    from orlop.image.transport.open import credentials_for, docker_reference, endpoints
    from orlop.image.transport.repository import Repository

    opening = options(context, arguments)
    repository = Repository.to_delete_from(
        endpoints(docker_reference(location), opening)[-1],
        opening.settings,
        opening.cancellation,
        credentials_for(opening),
    )
    try:
        return repository.delete(tag_only=arguments.tag_only)
    finally:
        repository.close()
