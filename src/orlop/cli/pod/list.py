"""`orlop pod list`."""

from __future__ import annotations

import argparse
import time

from orlop.cli.container.shown import ports
from orlop.cli.context import Context
from orlop.cli.output import ago, emit, table
from orlop.cli.parser import Parser
from orlop.cli.pod import shown

DESCRIPTION = """What was played and what `orlop run` made. RUNNING counts the containers that run, and all;
played pods are also listed while they wait for their start."""
EXAMPLES = ("orlop pod list", "orlop pod list --quiet", "orlop pod list --output json")
JSON = f"a list of objects: {shown.KEYS}."


def add_arguments(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="print IDs only")
    parser.add_argument("--no-trunc", action="store_true", help="print whole IDs")


def run(context: Context, arguments: argparse.Namespace) -> int:
    pods = shown.everything(context)
    if context.json:
        emit([shown.as_json(pod) for pod in pods])
        return 0
    length = None if arguments.no_trunc else 12
    if arguments.quiet:
        for pod in pods:
            if pod.sandbox is not None:
                print(pod.sandbox.id[:length])
        return 0
    now = time.time()
    headers = ("POD ID", "NAME", "STATUS", "READY", "RUNNING", "RESTARTS", "ADDRESS", "PORTS", "CREATED")
    table(headers, [_row(pod, length, now) for pod in pods])
    return 0


def _row(pod: shown.Pod, length: int | None, now: float) -> tuple[str, ...]:
    status, sandbox = pod.status, pod.sandbox
    reason = f" ({status.reason})" if status is not None and status.reason else ""
    running = sum(container.state == "running" for container in pod.containers)
    name = sandbox.config.name if sandbox is not None else status.name if status is not None else ""
    return (
        sandbox.id[:length] if sandbox is not None else "-",
        name,
        pod.phase + reason,
        "yes" if pod.ready else "no",
        f"{running}/{len(pod.containers)}",
        str(status.restarts) if status is not None else "0",
        ", ".join(shown.addresses(pod)) or "-",
        ports(sandbox) if sandbox is not None else "",
        ago(sandbox.created, now) if sandbox is not None else "",
    )
