"""`orlop stats`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from orlop.cli.container import shown
from orlop.cli.context import Context
from orlop.cli.output import emit, memory, size, stamp, table
from orlop.cli.parser import Parser

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.pod.model import Container, Sandbox
    from orlop.pod.stats import Stats

DESCRIPTION = """On a terminal again each second, until ^C. CPU is of one core: 200 % are two cores in use.
WRITTEN is what it has in its own root file system; the network is its pod's, loopback aside."""
EXAMPLES = ("orlop stats", "orlop stats --no-stream web", "orlop stats --no-stream --output json")
JSON = """a list of objects: `id`, `name`, `time` (RFC 3339), `cpu_percent`, `cpu_nanoseconds`, `memory`,
`working_set`, `memory_limit` (0: none), `pids`, `pids_limit`, `throttled_nanoseconds`, `written`,
`written_inodes`, `received`, `sent`; bytes. One list, after the second that `cpu_percent` needs."""

_INTERVAL = 1.0  # seconds
_CLEAR = "\x1b[H\x1b[J"


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("names", metavar="CONTAINER", nargs="*", help="those that are asked for (all that run)")
    add("--no-stream", action="store_true", help="only once")


def run(context: Context, arguments: argparse.Namespace) -> int:
    once = arguments.no_stream or context.json or not sys.stdout.isatty()
    before = _read(context, arguments.names)
    while True:
        time.sleep(_INTERVAL)
        now = _read(context, arguments.names)
        rows = [_as_json(container, sandbox, stats, before) for container, sandbox, stats in now.values()]
        if context.json:
            emit(rows)
        else:
            if not once:
                sys.stdout.write(_CLEAR)
            _table(rows)
            sys.stdout.flush()
        if once:
            return 0
        before = now


Reading = dict[str, tuple["Container", "Sandbox", "Stats"]]


def _read(context: Context, names: Sequence[str]) -> Reading:
    from orlop.pod.stats import container_stats

    pods = context.pods
    containers = [pods.container(name) for name in names] if names else pods.containers(state="running")
    sandboxes = {sandbox.id: sandbox for sandbox in pods.sandboxes()}
    return {
        container.id: (container, sandboxes[container.sandbox_id], container_stats(pods, container))
        for container in containers
        if container.sandbox_id in sandboxes
    }


def _as_json(container: Container, sandbox: Sandbox, stats: Stats, before: Reading) -> dict[str, object]:
    usage, percent = stats.usage, 0.0
    if container.id in before:
        earlier = before[container.id][2]
        passed = (stats.time - earlier.time) * 1e9
        percent = max(0.0, 100 * (usage.cpu - earlier.usage.cpu) / passed) if passed > 0 else 0.0
    return {
        "id": container.id,
        "name": shown.title(container, sandbox),
        "time": stamp(stats.time),
        "cpu_percent": round(percent, 2),
        "cpu_nanoseconds": usage.cpu,
        "memory": usage.memory,
        "working_set": usage.working_set,
        "memory_limit": usage.memory_limit,
        "pids": usage.pids,
        "pids_limit": usage.pids_limit,
        "throttled_nanoseconds": usage.throttled,
        "written": stats.disk_bytes,
        "written_inodes": stats.disk_inodes,
        "received": stats.received,
        "sent": stats.sent,
    }


def _table(rows: Sequence[dict[str, object]]) -> None:
    def number(row: dict[str, object], key: str) -> float:
        value = row[key]
        assert isinstance(value, int | float)
        return value

    cells = []
    for row in rows:
        limit, pids_limit = number(row, "memory_limit"), number(row, "pids_limit")
        cells.append(
            (
                str(row["id"])[:12],
                str(row["name"]),
                f"{number(row, 'cpu_percent'):.1f}%",
                f"{memory(number(row, 'memory'))} / {memory(limit) if limit else 'no limit'}",
                f"{row['pids']} / {pids_limit or 'no limit'}",
                f"{size(number(row, 'received'))} / {size(number(row, 'sent'))}",
                size(number(row, "written")),
            )
        )
    table(("CONTAINER ID", "NAME", "CPU", "MEMORY", "PROCESSES", "RECEIVED / SENT", "WRITTEN"), cells)
