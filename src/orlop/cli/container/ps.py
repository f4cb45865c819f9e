"""`orlop ps`."""

from __future__ import annotations

import argparse
import time

from orlop.cli.container import shown
from orlop.cli.context import Context
from orlop.cli.output import ago, emit, table
from orlop.cli.parser import Parser

DESCRIPTION = "Those that run; --all also those that have ended or were never started."
EXAMPLES = ("orlop ps", "orlop ps --all --output json", "orlop ps --quiet --filter label=app=web")
JSON = f"a list of objects: {shown.KEYS}."

_FILTERS = ("pod", "state", "label")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-a", "--all", action="store_true", help="also those that do not run")
    add("-q", "--quiet", action="store_true", help="print IDs only")
    add("--no-trunc", action="store_true", help="print whole IDs")
    add(
        "-f",
        "--filter",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="pod=, state= or label=NAME[=VALUE]",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    filters = [_filter(text) for text in arguments.filter]
    pods = context.pods
    sandboxes = {sandbox.id: sandbox for sandbox in pods.sandboxes()}
    everything = arguments.all or any(key == "state" for key, _ in filters)
    rows = [
        (container, sandboxes[container.sandbox_id])
        for container in pods.containers(state=None if everything else "running")
        if container.sandbox_id in sandboxes  # it may have been removed between the two queries
    ]
    rows = [
        (c, s) for c, s in rows if all(_matches(key, value, shown.as_json(c, s)) for key, value in filters)
    ]
    if context.json:
        emit([shown.as_json(container, sandbox) for container, sandbox in rows])
        return 0
    length = None if arguments.no_trunc else 12
    if arguments.quiet:
        for container, _ in rows:
            print(container.id[:length])
        return 0
    now = time.time()
    table(
        ("CONTAINER ID", "NAME", "IMAGE", "STATUS", "PORTS", "CREATED"),
        [
            (
                container.id[:length],
                shown.title(container, sandbox),
                shown.image(container),
                shown.status(container, now),
                shown.ports(sandbox),
                ago(container.created, now),
            )
            for container, sandbox in rows
        ],
    )
    return 0


def _filter(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if key not in _FILTERS or not value:
        from orlop.kit.errors import InvalidInput

        raise InvalidInput(
            f"--filter {text}", "is not known", hint=f"known: {', '.join(_FILTERS)}, as KEY=VALUE"
        )
    return key, value


def _matches(key: str, value: str, container: dict[str, object]) -> bool:
    if key != "label":
        return container[key] == value
    labels = container["labels"]
    assert isinstance(labels, dict)
    name, equals, wanted = value.partition("=")
    return name in labels and (not equals or labels[name] == wanted)
