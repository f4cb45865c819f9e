"""Run one more process in a running container."""

from __future__ import annotations

import sqlite3

from orlop.kit import limits
from orlop.kit.errors import Conflict, InvalidInput
from orlop.pod import codec, merge, refresh
from orlop.pod.context import Pods
from orlop.pod.records import RUNNING
from orlop.runtime.model import Process

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.runtime.exec import ExecResult, Started


def exec_sync(
    pods: Pods,
    name: str,
    args: Sequence[str],
    *,
    timeout: float | None = None,
    stdin: bytes = b"",
    env: Sequence[tuple[str, str]] = (),
    cwd: str = "",
    user: str = "",
    output_limit: int = limits.EXEC_OUTPUT,
    cut: bool = False,
) -> ExecResult:
    """Run `args` to its end in the container and return what it said.

    It has the container's environment, folder and user unless others are given. After `timeout` seconds it
    is killed (`timed_out`). Output beyond the limit is an error, or dropped with `cut`. Raises NotFound,
    Conflict (the container does not run), LimitExceeded.
    """
    row = running(pods, name)
    process = _process(row, args, env, cwd, terminal=False, stdin=bool(stdin))
    return pods.engine.exec_sync(
        row["id"], process, timeout=timeout, stdin=stdin, user=user, output_limit=output_limit, cut=cut
    )


def exec_attached(
    pods: Pods,
    name: str,
    args: Sequence[str],
    *,
    stdin: int | None,
    stdout: int,
    stderr: int,
    terminal: bool = False,
    env: Sequence[tuple[str, str]] = (),
    cwd: str = "",
    user: str = "",
) -> int:
    """Run `args` in the container with these descriptors as its streams; returns its exit code.

    Raises NotFound, Conflict (the container does not run).
    """
    row = running(pods, name)
    process = _process(row, args, env, cwd, terminal=terminal, stdin=stdin is not None)
    return pods.engine.exec_attached(row["id"], process, stdin, stdout, stderr, terminal, user=user)


def exec_started(
    pods: Pods,
    name: str,
    args: Sequence[str],
    *,
    stdin: int | None,
    stdout: int | None,
    stderr: int | None,
    terminal: bool = False,
    size: tuple[int, int] = (0, 0),
) -> Started:
    """Begin `args` in the container with these descriptors as its streams (None: /dev/null).

    The caller waits for it, and closes it. Raises NotFound, Conflict (the container does not run).
    """
    from orlop.runtime.exec import exec_started as begin

    row = running(pods, name)
    process = _process(row, args, (), "", terminal=terminal, stdin=stdin is not None)
    return begin(pods.engine, row["id"], process, stdin, stdout, stderr, tty=terminal, size=size)


def running(pods: Pods, name: str) -> sqlite3.Row:
    """The record of a container that runs. Raises NotFound, Conflict."""
    row = refresh.refreshed(pods, pods.container_row(name))
    if row["state"] != RUNNING:
        raise Conflict(
            f"container {row['name']}", f"does not run (it is {row['state']})", hint="see: orlop ps --all"
        )
    return row


def _process(
    row: sqlite3.Row,
    args: Sequence[str],
    env: Sequence[tuple[str, str]],
    cwd: str,
    *,
    terminal: bool,
    stdin: bool,
) -> Process:
    if not args or not args[0]:
        raise InvalidInput(f"container {row['name']}", "nothing to execute", hint="give a command")
    base = codec.process(row["process"])
    # The rest of the environment is in config.json, as hooks may have left it; a HOME that somebody chose
    # outranks that of the user who executes.
    values = dict(entry.partition("=")[::2] for entry in base.env if entry.startswith("HOME="))
    values.update(env)
    return Process(
        args=tuple(args),
        env=merge.as_entries(values),
        cwd=cwd or base.cwd,
        terminal=terminal,
        stdin=stdin,
    )
