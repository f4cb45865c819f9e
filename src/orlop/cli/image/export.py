"""`orlop image export`."""

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
    from collections.abc import Iterator

DESCRIPTION = """All layers as one tar archive: what a container on the image finds. Owners, times, extended
attributes, devices, hard links and holes are kept; the same image gives the same bytes."""
EXAMPLES = (
    "orlop image export busybox -o rootfs.tar",
    "orlop image export --file rootfs.tar busybox",
)
JSON = """With --file: `image` (ID), `file`, `size` (bytes), `entries`."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")
    parser.add_argument(
        "-o", "--file", metavar="FILE", default="-", help="where to (standard output); - is that, too"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.progress import shown

    image = context.store.image(arguments.image)
    if arguments.file == "-" and os.isatty(sys.stdout.fileno()):
        raise InvalidInput("standard output", "is a terminal", hint="redirect it, or name a file with -o")
    size = 0
    with _target(arguments.file) as target, shown(quiet=arguments.quiet) as progress:
        meter = progress.meter("exporting", None)

        def write(piece: bytes | memoryview) -> None:
            nonlocal size
            view = memoryview(piece)
            size += len(view)
            meter.advance(len(view))
            while view:
                view = view[_written(target, view, arguments.file) :]

        entries = context.store.export_image(image.id, write)
    if context.json and arguments.file != "-":
        emit({"image": image.id, "file": arguments.file, "size": size, "entries": entries})
    return 0


def _written(target: int, view: memoryview, path: str) -> int:
    try:
        return os.write(target, view)
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if path == "-" else path
        cause = error.strerror or str(error)
        raise Unavailable(name, cause, hint="see that there is room for it (df -h)") from error


@contextlib.contextmanager
def _target(path: str) -> Iterator[int]:
    """A descriptor to write to; a file appears under its name once it is whole."""
    if path == "-":
        sys.stdout.flush()
        yield sys.stdout.fileno()
        return
    from orlop.kit.files import unique

    partial = f"{path}.{unique()}.tmp"
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe, a device
            with open(path, "wb", buffering=0) as stream:
                yield stream.fileno()
            return
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield file
        finally:
            os.close(file)
        os.rename(partial, path)
    except OSError as error:
        raise Unavailable(
            path, error.strerror or str(error), hint="see that its folder exists and has room"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(partial)
