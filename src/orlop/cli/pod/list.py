"""`orlop pod list`."""

from __future__ import annotations

import argparse
import time

from orlop.cli.container.shown import ports
from orlop.cli.context import Context
from orlop.cli.output import ago, emit, table
from orlop.cli.parser import Parser
from orlop.cli.pod import shown

DESCRIPTION = "CONTAINERS counts those that run, and all."
EXAMPLES = ("orlop pod list", "orlop pod list --quiet", "orlop pod list --output json")
JSON = f"a list of objects: {shown.KEYS}."


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="print IDs only")
    parser.add_argument("--no-trunc", action="store_true", help="print whole IDs")


def run(context: Context, arguments: argparse.Namespace) -> int:
    pods = context.pods
    sandboxes = pods.sandboxes()
    containers = pods.containers()
    inside = {s.id: [c for c in containers if c.sandbox_id == s.id] for s in sandboxes}
    if context.json:
        emit([shown.as_json(sandbox, inside[sandbox.id]) for sandbox in sandboxes])
        return 0
    length = None if arguments.no_trunc else 12
    if arguments.quiet:
        for sandbox in sandboxes:
            print(sandbox.id[:length])
        return 0
    now = time.time()
    rows = []
    for sandbox in sandboxes:
        running = sum(container.state == "running" for container in inside[sandbox.id])
        rows.append(
            (
                sandbox.id[:length],
                sandbox.config.name,
                "Ready" if sandbox.state == "ready" else "Not ready",
                f"{running}/{len(inside[sandbox.id])}",
                ", ".join(sandbox.addresses.ips) or f"({sandbox.config.network})",
                ports(sandbox),
                ago(sandbox.created, now),
            )
        )
    table(("POD ID", "NAME", "STATUS", "CONTAINERS", "ADDRESS", "PORTS", "CREATED"), rows)
    return 0
