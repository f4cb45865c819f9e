"""`orlop logs`."""

from __future__ import annotations

import argparse
import json
import sys
import time

from orlop.cli.context import Context
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput

DESCRIPTION = """What it wrote to its standard output comes on standard output, its standard error on standard
error. Of a container that has ended, too, until it is removed."""
EXAMPLES = (
    "orlop logs web",
    "orlop logs --follow --tail 20 web/nginx",
    "orlop logs --since 10m --timestamps web",
)
JSON = (
    "one object a line: `time` (RFC 3339), `stream` (stdout, stderr), `text`, `partial` (the line goes on)."
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on until the container ends")
    add("-n", "--tail", metavar="LINES", default="all", help="only the last ones")
    add("--since", metavar="WHEN", help="10m, 2h, 2026-01-02T03:04:05Z or seconds since the epoch")
    add("-t", "--timestamps", action="store_true", help="the time in front of each line")
    add("container", metavar="CONTAINER", help="POD/CONTAINER, POD with only one, or an ID")


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.pod.logs import logs

    tail = None if arguments.tail in ("all", "-1") else _lines(arguments.tail)
    since = 0.0 if arguments.since is None else moment(arguments.since, time.time())
    out, err = sys.stdout.buffer, sys.stderr.buffer
    begins = {"stdout": True, "stderr": True}
    for record in logs(context.pods, arguments.container, tail=tail, since=since, follow=arguments.follow):
        if context.json:
            out.write(_as_json(record.stamp, record.stream, record.data, record.partial))
        else:
            stream = err if record.stream == "stderr" else out
            if arguments.timestamps and begins[record.stream]:
                stream.write(record.stamp.encode() + b" ")
            stream.write(record.data if record.partial else record.data + b"\n")
            begins[record.stream] = not record.partial
            if stream is err or arguments.follow:
                out.flush()
                err.flush()
    return 0


def moment(text: str, now: float) -> float:
    """Seconds since the epoch of `10m` (before `now`), RFC 3339, or such seconds. Raises InvalidInput."""
    from datetime import datetime

    try:
        if text[-1:] in _UNITS:
            return now - float(text[:-1]) * _UNITS[text[-1]]
        if text.replace(".", "", 1).isdigit():
            return float(text)
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        hint = "write it as 10m, 2h or 2026-01-02T03:04:05Z"
        raise InvalidInput(f"--since {text}", "is not a time", hint=hint) from None


def _lines(text: str) -> int:
    if not text.isdigit():
        raise InvalidInput(f"--tail {text}", "is not a number of lines", hint="write digits, or all")
    return int(text)


def _as_json(when: str, stream: str, data: bytes, partial: bool) -> bytes:
    text = data.decode(errors="replace")
    told = {"time": when, "stream": stream, "text": text, "partial": partial}
    return json.dumps(told, ensure_ascii=False).encode() + b"\n"
