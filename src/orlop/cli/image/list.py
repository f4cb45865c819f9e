"""`orlop image list`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.names import familiar, short
from orlop.cli.output import ago, emit, size, table
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.store.model import StoredImage

DESCRIPTION = "One line a name; SIZE is unpacked, layers that other images share included."
EXAMPLES = (
    "orlop image list",
    "orlop image list --filter reference=busy* --filter dangling=false",
    "orlop image list --quiet --filter before=nginx",
    "orlop image list --digests",
    "orlop image list --output json",
)
JSON = """a list of objects: `id`, `digest`, `names`, `digests`, `size` (bytes, unpacked), `created` (RFC 3339
or null), `layers` (chain IDs, lowest first)."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="print IDs only")
    parser.add_argument("-a", "--all", action="store_true", help="steps of builds, too")
    parser.add_argument("--no-trunc", action="store_true", help="print whole IDs")
    parser.add_argument("--digests", action="store_true", help="print the manifests' digests, too")
    parser.add_argument(
        "-f",
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="dangling=true|false, label=NAME[=VALUE], reference=PATTERN, before=IMAGE, since=IMAGE",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    images = context.store.images()
    if not arguments.all:
        steps = context.store.step_images()
        images = [image for image in images if image.names or image.id not in steps]
    if arguments.filter:
        from orlop.cli.image.filters import chosen

        images = chosen(context.store, images, arguments.filter)
    if context.json:
        emit([as_json(image) for image in images])
        return 0
    identity = str if arguments.no_trunc else short
    if arguments.quiet:
        for image in images:
            print(identity(image.id))
        return 0
    rows = [
        (
            familiar(name) if name else "<none>",
            *((_digest(context, image, name),) if arguments.digests else ()),
            identity(image.id),
            shown_time(image.created),
            size(image.size),
        )
        for image in images
        for name in (image.names or ("",))
    ]
    digests = ("DIGEST",) if arguments.digests else ()
    table(("NAME", *digests, "IMAGE ID", "CREATED", "SIZE"), sorted(rows))
    return 0


def _digest(context: Context, image: StoredImage, name: str) -> str:
    """One image may have come by another manifest under each of its names."""
    found = context.store.named(name) if name else None
    return found[1] if found else image.digest


def as_json(image: StoredImage) -> dict[str, object]:
    """What `image list` and `image inspect` say of an image; docs/cli.md lists the keys."""
    return {
        "id": image.id,
        "digest": image.digest,
        "names": list(image.names),
        "digests": list(image.digests),
        "size": image.size,
        "created": image.created or None,
        "layers": list(image.layers),
    }


def shown_time(stamp: str) -> str:
    """RFC 3339 -> `3 days ago`; images say anything, so what is no time is shown as it is."""
    if not stamp:
        return "unknown"
    from datetime import datetime

    try:
        return ago(datetime.fromisoformat(stamp).timestamp())
    except (ValueError, OverflowError):
        return stamp[:30]
