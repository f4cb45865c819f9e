"""`orlop image tree`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.names import familiar, short
from orlop.cli.output import emit, printable, size
from orlop.cli.parser import Parser

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.store.branches import Branch

DESCRIPTION = """Layers that always come together are one line: the uppermost one's ID, how many they are,
their unpacked size, and the images that end there. With an image, only what it stands on and what stands on
it."""
EXAMPLES = ("orlop image tree", "orlop image tree busybox", "orlop image tree --output json")
JSON = """a list of objects: `layers` (chain IDs, lowest first), `size` (bytes, unpacked), `images` (each `id`
and `names`), `above` (the same again)."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "image", metavar="IMAGE", nargs="?", default="", help="a name, a digest or (the start of) an ID"
    )
    parser.add_argument("--no-trunc", action="store_true", help="print whole IDs")


def run(context: Context, arguments: argparse.Namespace) -> int:
    found = context.store.branches(arguments.image)
    if context.json:
        emit([_as_json(branch) for branch in found])
        return 0
    for branch in found:
        for line in _lines(branch, whole=arguments.no_trunc):
            print(printable(line))
    return 0


def _as_json(branch: Branch) -> dict[str, object]:
    return {
        "layers": branch.layers,
        "size": branch.size,
        "images": [{"id": image_id, "names": list(names)} for image_id, names in branch.images],
        "above": [_as_json(above) for above in branch.above],
    }


def _lines(branch: Branch, *, whole: bool) -> Iterator[str]:
    yield _line(branch, whole=whole)
    yield from _below(branch.above, "", whole=whole)


def _below(branches: Sequence[Branch], indent: str, *, whole: bool) -> Iterator[str]:
    for branch in branches:
        last = branch is branches[-1]
        yield f"{indent}{'└─ ' if last else '├─ '}{_line(branch, whole=whole)}"
        yield from _below(branch.above, indent + ("   " if last else "│  "), whole=whole)


def _line(branch: Branch, *, whole: bool) -> str:
    identity = str if whole else short
    top = identity(branch.layers[-1]) if branch.layers else "no layer"
    count = f", {len(branch.layers)} layers" if len(branch.layers) > 1 else ""
    names = [
        ", ".join(map(familiar, names)) if names else f"<none> {identity(image_id)}"
        for image_id, names in branch.images
    ]
    return f"{top}  {size(branch.size)}{count}" + (f"  [{'; '.join(names)}]" if names else "")
