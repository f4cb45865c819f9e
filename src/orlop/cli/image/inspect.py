"""`orlop image inspect`."""

from __future__ import annotations

import argparse
import json

from orlop.cli.context import Context
from orlop.cli.describe import describe
from orlop.cli.each import each
from orlop.cli.image.list import as_json
from orlop.cli.output import emit, plain
from orlop.cli.parser import Parser

DESCRIPTION = "JSON is always a list, one object an image, in the order of the names."
EXAMPLES = ("orlop image inspect busybox", "orlop image inspect 3f57d9401f8d --output json")
JSON = """a list of objects: the keys of `image list`, and `os`, `architecture`, `variant`, `config` (what the
image says about how to run it), `history`, `manifest` (as the registry gave it)."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("names", metavar="IMAGE", nargs="+", help="a name, a digest or (the start of) an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    found: list[dict[str, object]] = []
    code = each(context, arguments.names, lambda name: found.append(_inspect(context, name)))
    if context.json:
        emit(found)
    else:
        describe(found)
    return code


def _inspect(context: Context, name: str) -> dict[str, object]:
    store = context.store
    image = store.image(name)
    config = plain(store.image_config(image.id))
    assert isinstance(config, dict)
    for known in ("created", "diff_ids"):
        config.pop(known, None)
    history = config.pop("history", [])
    where = {key: config.pop(key) for key in ("os", "architecture", "variant")}
    manifest = json.loads(store.manifest_bytes(image.id))
    return {**as_json(image), **where, "config": config, "history": history, "manifest": manifest}
