"""`orlop image diff`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit, printable, size
from orlop.cli.parser import Parser

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.store.diff import Difference

DESCRIPTION = """From IMAGE to OTHER; without OTHER, what IMAGE's uppermost layer did to those below it. A is
added, C changed, D deleted. Contents are compared byte by byte; times of folders do not count."""
EXAMPLES = ("orlop image diff busybox nginx", "orlop image diff nginx")
JSON = """a list of objects, by path: `path`, `change` ("added", "changed", "deleted"), `kind` ("file",
"folder", "link", "device", "pipe", "socket"), `size` and `before` (bytes of files, now and before), `what`
(of what changed: "kind", "content", "mode", "owner", "time", "attributes", "target", "device")."""


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")
    add("other", metavar="OTHER", nargs="?", default="", help="the image to compare it with")
    add("--ignore-times", action="store_true", help="do not list files of which only the time changed")


def run(context: Context, arguments: argparse.Namespace) -> int:
    found = context.store.diff(arguments.image, arguments.other)
    if arguments.ignore_times:
        found = [one for one in found if one.what != ("time",)]
    return show(context, found)


def show(context: Context, found: Sequence[Difference]) -> int:
    """As `image diff` and `diff` print it."""
    if context.json:
        emit(found)
        return 0
    for one in found:
        about = []
        if one.kind == "file":
            changed = one.change == "changed" and one.before != one.size
            about.append(
                f"{size(one.before)} -> {size(one.size)}" if changed else size(one.size or one.before)
            )
        elif one.kind != "folder":
            about.append(one.kind)
        about += one.what
        said = f"  ({', '.join(about)})" if about else ""
        end = "/" if one.kind == "folder" and one.path != "/" else ""
        print(f"{one.change[0].upper()} {printable(one.path)}{end}{said}")
    return 0
