"""`orlop node check`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = "Looks, changes nothing. What is missing makes the exit code 9."
EXAMPLES = ("orlop node check", "orlop node check --output json")
JSON = "`ready`, `findings`: a list of `name`, `state` (ok, warning, missing), `text`, `hint`."

_MARKS = {"ok": "ok     ", "warning": "warning", "missing": "MISSING"}


def add_arguments(parser: Parser) -> None:
    pass


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.node.checks import findings

    found = findings(context.node)
    missing = [finding for finding in found if finding.state == "missing"]
    if context.json:
        emit({"ready": not missing, "findings": found})
    else:
        for finding in found:
            print(f"{_MARKS[finding.state]}  {finding.name}: {finding.text}")
            if finding.hint:
                print(f"         do: {finding.hint}")
    if not missing:
        return 0
    from orlop.kit.errors import Unsupported

    names = ", ".join(finding.name for finding in missing)
    raise Unsupported("this machine", f"is not ready: {names}", hint=missing[0].hint)
