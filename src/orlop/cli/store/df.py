"""`orlop store df`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.image.names import familiar, short
from orlop.cli.output import emit, size, table
from orlop.cli.parser import Parser

DESCRIPTION = """UNIQUE is what goes when the object goes; SHARED is used by others too. The total counts
every layer and every blob once."""
EXAMPLES = (
    "orlop store df",
    "orlop store df --layers",
    "orlop store df --blobs",
    "orlop store df --output json",
)
JSON = """`rows` (each `kind`, `id`, `name`, `size`, `shared`, `unique`, `in_use`; layers and blobs included),
`total`, `reclaimable`; bytes."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--layers", action="store_true", help="list layers, too")
    parser.add_argument("--blobs", action="store_true", help="list blobs, too: what is kept to be pushed")


def run(context: Context, arguments: argparse.Namespace) -> int:
    usage = context.store.df()
    if context.json:
        emit(usage)
        return 0
    hidden = {kind for kind in ("layer", "blob") if not getattr(arguments, f"{kind}s")}
    rows = [
        (
            row.kind,
            short(row.id),
            familiar(row.name) if row.kind in ("image", "blob") and row.name else row.name or "-",
            size(row.size),
            size(row.shared),
            size(row.unique),
            "yes" if row.in_use else "no",
        )
        for row in usage.rows
        if row.kind not in hidden
    ]
    table(("KIND", "ID", "NAME", "SIZE", "SHARED", "UNIQUE", "IN USE"), rows)
    print(f"total {size(usage.total)}, of which orlop store prune --all would free {size(usage.reclaimable)}")
    return 0
