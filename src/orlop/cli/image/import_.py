"""`orlop image import`."""

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
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from orlop.image.platform import Platform

DESCRIPTION = """The archive of a root file system (tar, plain or packed by gzip, zstd, bzip2 or xz)
becomes an image of one layer. What the image says about how to run it comes from --change, an instruction of
a Containerfile: CMD, ENV, ENTRYPOINT, EXPOSE, HEALTHCHECK, LABEL, SHELL, STOPSIGNAL, USER, VOLUME or WORKDIR.
With SOURCE_DATE_EPOCH in the environment the same archive gives the same image."""
EXAMPLES = (
    "orlop image import rootfs.tar.gz example.org/base:1",
    "orlop image import --platform linux/arm64 rootfs.tar base:arm64",
    """orlop image import rootfs.tar app:1 --change 'CMD ["/bin/app"]' --change 'ENV MODE=fast' -m 'first'""",
)
JSON = """`id`, `digest`, `name`, `size` (bytes of the archive)."""
_ALLOWED = (
    *("CMD", "ENV", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "LABEL"),
    *("SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
)


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("file", metavar="FILE", help="the archive; - is standard input")
    add("name", metavar="NAME", help="of the image")
    add(
        "-c",
        "--change",
        metavar="INSTRUCTION",
        action="append",
        default=[],
        help="an instruction that changes the image's configuration",
    )
    add("-m", "--message", metavar="TEXT", default="", help="the comment in its history")
    add("--platform", metavar="OS/ARCH", help="that it is for (this machine's)")
    add("-q", "--quiet", action="store_true", help="no progress")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.progress import shown
    from orlop.image.platform import Platform
    from orlop.image.reference import Reference
    from orlop.store.import_image import Import

    reference = Reference.parse(arguments.name)
    if reference.digest is not None:
        raise InvalidInput(arguments.name, "holds a digest, which no import can give", hint="write name:tag")
    platform = Platform.parse(arguments.platform) if arguments.platform else Platform.host()
    wanted = Import(
        names=(reference.canonical,),
        created=_created(os.environ.get("SOURCE_DATE_EPOCH", "")),
        platform=platform,
        run=_configured(arguments.change, platform),
        created_by="orlop image import",
        comment=arguments.message,
    )
    with _source(arguments.file) as file, shown(quiet=arguments.quiet) as progress:
        size = os.fstat(file).st_size or None
        meter = progress.meter("importing", size)
        try:
            done = context.store.import_image(file, wanted, meter=meter)
        finally:
            meter.done()
    if context.json:
        emit({"id": done.id, "digest": done.digest, "name": reference.canonical, "size": done.size})
    else:
        print(done.id)
    return 0


@contextlib.contextmanager
def _source(path: str) -> Iterator[int]:
    if path == "-":
        if os.isatty(sys.stdin.fileno()):
            raise InvalidInput("standard input", "is a terminal", hint="redirect an archive into it")
        yield sys.stdin.fileno()
        return
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(path, "no such file", hint="give the path of an archive, or -") from None
    except OSError as error:
        raise Unavailable(path, error.strerror or str(error), hint="see that it can be read") from error
    try:
        if os.path.isdir(path):
            raise InvalidInput(path, "is a folder", hint=f"tar -C {path} -c . | orlop image import - NAME")
        yield file
    finally:
        os.close(file)


def _created(epoch: str) -> str:
    """RFC 3339. `epoch` is SOURCE_DATE_EPOCH, or "" for now."""
    from orlop.build.document import moment

    if not epoch:
        import time

        return moment(time.time())
    if not epoch.isascii() or not epoch.isdigit() or len(epoch) > 12:
        raise InvalidInput(
            "SOURCE_DATE_EPOCH", f"{epoch[:40]!r} is no number of seconds", hint="date +%s prints one"
        )
    return moment(min(int(epoch), 253402300799))


def _configured(changes: Sequence[str], platform: Platform) -> Mapping[str, Any]:
    """The `config` object that the instructions make."""
    if not changes:
        return {}
    from orlop.build.configure import Configuring
    from orlop.build.containerfile.expand import expanded
    from orlop.build.containerfile.model import Env
    from orlop.build.containerfile.parse import trigger
    from orlop.build.document import Document

    document = Document.empty(platform)
    configuring = Configuring(document)
    environment: dict[str, str] = {}
    for change in changes:
        keyword = change.split(maxsplit=1)[0].upper() if change.strip() else ""
        if keyword not in _ALLOWED:
            raise InvalidInput(
                f"--change {change[:100]!r}",
                "is no instruction that changes an image's configuration",
                hint=f"begin it with one of {', '.join(_ALLOWED)}",
            )
        ready = expanded(trigger(change, "--change"), environment)
        if isinstance(ready, Env):
            environment.update(ready.pairs)
            configuring.set_environment(environment)
        else:
            configuring.apply(ready)
    return {key: value for key, value in document.run.items() if value not in (None, "", [], {})}
