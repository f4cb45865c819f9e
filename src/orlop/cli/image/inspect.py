"""`orlop image inspect`."""

from __future__ import annotations

import argparse
import json
import sys

from orlop.cli.context import Context
from orlop.cli.describe import describe
from orlop.cli.each import each
from orlop.cli.image.list import as_json
from orlop.cli.output import emit, plain
from orlop.cli.parser import Parser

DESCRIPTION = """A name with a transport (docker://NAME, oci:PATH, dir:PATH, ...) is looked up there and
not pulled. JSON is always a list, one object an image, in the order of the names."""
EXAMPLES = (
    "orlop image inspect busybox",
    "orlop image inspect 3f57d9401f8d --output json",
    "orlop image inspect --raw docker://docker.io/library/busybox",
    "orlop image inspect --config busybox",
)
JSON = """a list of objects: the keys of `image list`, and `os`, `architecture`, `variant`, `config` (what the
image says about how to run it), `history`, `manifest` (as the registry gave it). Of an image that is not of
this node `size` is of its layers as packed and `layers` are their digests; an artifact has `artifact_type`
instead of a config."""


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_one_side

    add = parser.add_argument
    add("names", metavar="IMAGE", nargs="+", help="a name, a digest, (the start of) an ID, TRANSPORT:NAME")
    add("--raw", action="store_true", help="print the manifest (or index) byte for byte")
    parser.joined.add("--config")
    add(
        "--config",
        nargs="?",
        const="",
        metavar="=FILE",
        help="print the image's config byte for byte; with =FILE: Orlop's configuration, as elsewhere",
    )
    add("--platform", metavar="OS/ARCH[/VARIANT]", help="of an index elsewhere: another than this machine's")
    add_one_side(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    arguments.config_bytes = arguments.config == ""
    if arguments.raw or arguments.config_bytes:
        return _print_bytes(context, arguments)
    found: list[dict[str, object]] = []
    code = each(context, arguments.names, lambda name: found.append(_inspect(context, arguments, name)))
    if context.json:
        emit(found)
    else:
        describe(found)
    return code


def _print_bytes(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.kit.errors import InvalidInput

    if len(arguments.names) != 1:
        raise InvalidInput("orlop image inspect", "prints the bytes of one document", hint="name one image")
    name = arguments.names[0]
    if _is_elsewhere(name):
        from orlop.cli.image.inspect_remote import raw_bytes

        data = raw_bytes(context, arguments, name)
    else:
        store = context.store
        image_id, _, manifest = store.manifest_of(name.removeprefix("store:"))
        data = store.config_bytes(image_id) if arguments.config_bytes else manifest
    sys.stdout.buffer.write(data)
    return 0


def _is_elsewhere(name: str) -> bool:
    from orlop.image.transport.locate import STORE, has_transport

    return has_transport(name) and not name.startswith(f"{STORE}:")


def _inspect(context: Context, arguments: argparse.Namespace, name: str) -> dict[str, object]:
    if _is_elsewhere(name):
        from orlop.cli.image.inspect_remote import inspect

        return inspect(context, arguments, name)
    store = context.store
    image_id, digest, raw = store.manifest_of(name.removeprefix("store:"))
    image = store.image(image_id)
    config = plain(store.image_config(image.id))
    assert isinstance(config, dict)
    for known in ("created", "diff_ids"):
        config.pop(known, None)
    history = config.pop("history", [])
    where = {key: config.pop(key) for key in ("os", "architecture", "variant")}
    said = {**as_json(image), "digest": digest, **where, "config": config}
    return {**said, "history": history, "manifest": json.loads(raw)}
