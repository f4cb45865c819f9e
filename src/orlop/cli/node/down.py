"""`orlop node down`."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time

from orlop.cli.context import Context
from orlop.cli.parser import Parser
from orlop.kit import limits
from orlop.kit.errors import OrlopError, TimedOut

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Callable

DESCRIPTION = """The supervisor, all pods, the network, all mounts and the state folder. Images stay, and what
was played stays declared: `orlop supervise` brings it back. --purge removes that, too. Asked twice it is
harmless."""
EXAMPLES = ("orlop node down", "orlop node down --purge")

_PATIENCE = 5.0  # seconds that a conmon has to end by itself


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("--purge", action="store_true", help="remove the root folder, too: images, volumes, declarations")
    add(
        "-t",
        "--time",
        metavar="SECONDS",
        type=float,
        default=limits.STOP_GRACE,
        help=f"of grace ({limits.STOP_GRACE})",
    )


def run(context: Context, arguments: argparse.Namespace) -> int:
    node = context.node
    failures: list[OrlopError] = []

    def step(act: Callable[[], None]) -> None:
        try:
            act()
        except OrlopError as error:
            failures.append(error)

    if os.path.isdir(node.state):
        step(lambda: _stop_supervisor(context))
    if os.path.exists(node.in_root("pods.db")):
        step(lambda: _remove_pods(context, max(0.0, arguments.time)))
        step(lambda: _leave_network(context))
        step(lambda: _end_monitors(node.state))
    unmount_below(node.state)
    if failures:  # what is left is found again by the next try
        for error in failures[1:]:
            print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        raise failures[0]
    shutil.rmtree(node.state, ignore_errors=True)
    if arguments.purge:
        unmount_below(node.root)
        shutil.rmtree(node.root, ignore_errors=True)
    return 0


def _stop_supervisor(context: Context) -> None:
    import asyncio

    from orlop.system.supervise.start import stop

    asyncio.run(stop(context.node))


def _remove_pods(context: Context, grace: float) -> None:
    """All at once, so that graces do not add up."""
    from orlop.cli.each import each
    from orlop.kit.errors import Conflict
    from orlop.pod.remove_sandbox import remove_sandbox
    from orlop.pod.stop_sandbox import stop_sandbox

    pods = context.pods

    def remove(identifier: str) -> None:
        stop_sandbox(pods, identifier, grace)
        remove_sandbox(pods, identifier)

    code = each(context, [sandbox.id for sandbox in pods.sandboxes()], remove, at_once=True)
    if code:
        raise Conflict(f"node {context.node.root}", "not every pod could be removed", hint="ask again")


def _leave_network(context: Context) -> None:
    from orlop.pod.teardown import teardown

    context.pods.engine.cgroups.kill(context.pods.own_group)
    teardown(context.pods)
    context.pods.close()


def _end_monitors(state: str) -> None:
    """The conmons of this node's containers end a moment after them; who does not is killed."""
    started = time.monotonic()
    while pids := _monitors(state):
        waited = time.monotonic() - started
        if waited > 2 * _PATIENCE:
            listed = ", ".join(map(str, pids))
            hint = "see what they wait for: cat /proc/PID/stack; then ask again"
            raise TimedOut(f"conmon {listed}", "does not end", hint=hint)
        if waited > _PATIENCE:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _monitors(state: str) -> list[int]:
    """Processes whose program is conmon and whose arguments lie below this node's state folder."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as stream:
            program, *arguments = stream.read().split(b"\0")
            below = os.fsencode(state) + b"/"
            if os.path.basename(program) == b"conmon" and any(a.startswith(below) for a in arguments):
                found.append(int(name))
    return found


def unmount_below(folder: str) -> None:
    """Detach every mount at or below `folder`, innermost first."""
    from orlop.kit import kernel

    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        points = [_unescaped(line.split()[4]) for line in stream]
    for point in sorted(points, key=len, reverse=True):
        if point == folder or point.startswith(folder.rstrip("/") + "/"):
            with contextlib.suppress(OSError):  # gone meanwhile
                kernel.umount(point, kernel.MNT_DETACH)


def _unescaped(text: str) -> str:
    """proc(5): space, tab, newline and backslash are written as three octal digits."""
    for character in (" ", "\t", "\n", "\\"):
        text = text.replace(f"\\{ord(character):03o}", character)
    return text
