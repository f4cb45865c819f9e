"""`orlop node check`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

DESCRIPTION = """Looks, changes nothing unless asked to --repair. What is missing makes the exit code 9."""
EXAMPLES = ("orlop node check", "orlop node check --output json", "orlop node check --repair")
JSON = "`ready`, `findings`: a list of `name`, `state` (ok, warning, missing), `text`, `hint`."

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.cli.node.checks import Finding

_MARKS = {"ok": "ok     ", "warning": "warning", "missing": "MISSING"}


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--repair", action="store_true", help="finish what crashes left undone, and remove what is nobody's"
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.node.checks import findings

    found = findings(context.node)
    if arguments.repair:
        found.append(_repaired(context))
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


def _repaired(context: Context) -> Finding:
    from orlop.cli.node.checks import Finding
    from orlop.kit.errors import OrlopError
    from orlop.pod.recover import recover

    try:
        done = recover(context.pods)
    except OrlopError as error:
        return Finding("recovery", "warning", f"{error.subject}: {error.cause}", error.hint)
    counts = {
        "containers": len(done.containers),
        "pods": len(done.sandboxes),
        "leftovers of nobody": len(done.orphans),
    }
    text = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    if done.failures:
        return Finding("recovery", "warning", "; ".join(done.failures), "ask again when the cause is mended")
    return Finding("recovery", "ok", f"finished or removed: {text}" if text else "nothing was left undone")
