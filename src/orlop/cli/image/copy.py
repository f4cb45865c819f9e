"""`orlop image copy`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.image.copy.options import Copied, CopyOptions
    from orlop.image.policy.gate import Gate
    from orlop.image.transport.locate import Location
    from orlop.image.transport.open import OpenOptions

DESCRIPTION = """Both are TRANSPORT:NAME: docker://NAME, oci:PATH[:REF], oci-archive:PATH[:REF],
docker-archive:PATH[:REF], dir:PATH, store:NAME (this node), containers-storage:NAME (podman's, read
only). Of an index the image for this machine is copied, unless --all or --platform say otherwise.
Bytes stay as they are unless the destination or an option needs them otherwise. Prints the digest."""
EXAMPLES = (
    "orlop image copy docker://docker.io/library/busybox:latest oci:images:busybox",
    "orlop image copy --all --preserve-digests docker://debian:12 docker://registry.example.org/debian:12",
    "orlop image copy --compress zstd --level 6 docker://nginx docker://registry.example.org/nginx:zstd",
    "orlop image copy docker://nginx store:registry.example.org/nginx:1",
)
JSON = """an object: `source`, `destination`, `digest`, `manifests`, `sent` and `there` (blobs that were
transferred, and those that the destination had), `bytes` (sent, as packed)."""


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_policy, add_two_sides

    add = parser.add_argument
    add("source", metavar="SOURCE", help="TRANSPORT:NAME")
    add("destination", metavar="DESTINATION", help="TRANSPORT:NAME")
    add("--all", "-a", action="store_true", help="every platform of an index, and the index as it is")
    add(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        action="append",
        default=[],
        help="one platform's image; given again, an index of those",
    )
    add_conversions(parser)
    add("--digestfile", metavar="FILE", help="write the digest at the destination there as well")
    add("-q", "--quiet", action="store_true", help="no progress, no digest")
    add_policy(parser)
    add_two_sides(parser)


def add_conversions(parser: Parser) -> None:
    """What may change on the way, and what may not."""
    add = parser.add_argument
    add("--preserve-digests", action="store_true", help="fail where a digest would change")
    add("--compress", choices=("gzip", "zstd", "none"), help="pack layers so (default: leave them)")
    add("--level", metavar="N", type=int, help="of the compressor: gzip 1-9, zstd 1-19")
    add("--format", choices=("oci", "docker"), default="", help="of the manifests (default: leave it)")
    add("--signatures", action="store_true", help="also cosign's signatures, attestations and referrers")
    add("--remove-signatures", action="store_true", help="leave simple signatures behind")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.image.transport.locate import parse

    source = parse(arguments.source, default="")
    destination = parse(arguments.destination, default="")
    done = transfer(context, arguments, source, destination)
    if arguments.digestfile:
        with open(arguments.digestfile, "w", encoding="ascii") as stream:
            stream.write(done.digest)
    if context.json:
        emit(done)
    elif not arguments.quiet:
        print(done.digest)
    return 0


def copy_options(arguments: argparse.Namespace, opening: OpenOptions) -> CopyOptions:
    from orlop.image.copy.options import CopyOptions
    from orlop.image.platform import Platform

    compression = arguments.compress
    return CopyOptions(
        platforms=tuple(map(Platform.parse, arguments.platform)),
        all_platforms=arguments.all,
        preserve_digests=arguments.preserve_digests,
        compression="" if compression == "none" else compression,
        level=arguments.level,
        format=arguments.format,
        signatures=arguments.signatures,
        remove_signatures=arguments.remove_signatures,
        parallel=opening.settings.parallel_blobs,
        attempts=opening.settings.attempts,
        backoff=opening.settings.backoff,
    )


def transfer(
    context: Context, arguments: argparse.Namespace, source: Location, destination: Location
) -> Copied:
    """One copy as `arguments` ask for it, with progress on a terminal."""
    from orlop.cli.image.sides import gate_of, options, transports
    from orlop.cli.progress import shown
    from orlop.image.copy.by_name import copy_by_name
    from orlop.image.transport import locate

    reading = options(context, arguments, "src")
    asked = copy_options(arguments, reading)
    gate = gate_of(context, source, reading.settings)
    if destination.transport == locate.STORE:
        return _into_store(context, arguments, source, destination, reading, gate)
    with shown(quiet=arguments.quiet) as progress:
        return copy_by_name(
            source,
            destination,
            asked,
            reading=reading,
            writing=options(context, arguments, "dest"),
            transports=transports(context),
            gate=gate,
            progress=progress,
        )


def _into_store(
    context: Context,
    arguments: argparse.Namespace,
    source: Location,
    destination: Location,
    reading: OpenOptions,
    gate: Gate | None,
) -> Copied:
    """The store unpacks what it is given: one platform, as it is."""
    import asyncio

    from orlop.cli.image.sides import transports
    from orlop.cli.progress import shown
    from orlop.image.copy.options import Copied
    from orlop.image.pull import load
    from orlop.kit.errors import Unsupported

    if arguments.all or len(arguments.platform) > 1 or arguments.compress or arguments.format:
        raise Unsupported(
            str(destination),
            "a store holds one platform of an image, as it came",
            hint="leave out --all, --compress, --format and all --platform but one",
        )
    with shown(quiet=arguments.quiet) as progress:
        done = asyncio.run(
            load(
                transports(context).source(source, reading),
                destination.rest,
                context.store,
                cancellation=reading.cancellation,
                settings=reading.settings,
                platform=next(iter(arguments.platform), None),
                progress=progress,
                gate=gate,
            )
        )
    return Copied(str(source), str(destination), done.digest, 1, done.fetched_layers, 0, done.bytes)
