"""`orlop image mount`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.names import familiar, short
from orlop.cli.output import emit, table
from orlop.cli.parser import Parser

DESCRIPTION = """Mounted twice is mounted once. `orlop image unmount` takes it away; a reboot does, too.
Without an image: which ones are mounted, and where."""
EXAMPLES = ("orlop image mount busybox", "orlop image mount")
JSON = """`image` (ID) and `path`; without an image a list of such objects, each with the image's `names`."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="a name, a digest or (the start of) an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.image is None:
        return _list(context)
    path = context.store.mount_image(arguments.image)
    if context.json:
        emit({"image": context.store.image(arguments.image).id, "path": path})
    else:
        print(path)
    return 0


def _list(context: Context) -> int:
    mounted = dict(context.store.mounted_images())
    images = [image for image in context.store.images() if image.id in mounted]
    if context.json:
        emit([{"image": image.id, "names": list(image.names), "path": mounted[image.id]} for image in images])
        return 0
    rows = [
        (familiar(name) if name else "<none>", short(image.id), mounted[image.id])
        for image in images
        for name in (image.names or ("",))
    ]
    table(("NAME", "IMAGE ID", "PATH"), rows)
    return 0
