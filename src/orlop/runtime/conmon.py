"""conmon(8): its command line, its start, and what it reports (podman's and CRI-O's own way of use).

conmon forks twice, so it is nobody's child. It runs the runtime's `create`, keeps the container's streams,
writes the log and, at the end, the exit code.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time

from orlop.kit import limits, process
from orlop.kit.errors import TimedOut
from orlop.kit.value import dataclass

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable

RESIZE, REOPEN = 1, 2  # messages on the control FIFO: "<kind> <rows> <columns>\n"
_MESSAGE = 64 * limits.KIB


@dataclass(frozen=True)
class Order:
    """One container for conmon. `runtime_args` come before the runtime's verb."""

    program: str
    id: str
    runtime: str
    runtime_args: tuple[str, ...]
    bundle: str
    exits: str
    log_path: str
    log_size: int
    terminal: bool = False
    stdin: bool = False
    stdin_once: bool = False
    systemd: bool = False
    exit_command: tuple[str, ...] = ()


class Refused(Exception):
    """conmon reports that the runtime did not create the container; its words, if it has any."""


def argv(order: Order) -> list[str]:
    """conmon's command line."""
    line = [order.program, "--api-version", "1", "-c", order.id, "-u", order.id, "-n", order.id]
    line += ["-r", order.runtime, "-b", order.bundle, "--full-attach", "--socket-dir-path", order.bundle]
    line += ["-p", f"{order.bundle}/pid", "-P", f"{order.bundle}/conmon.pid", "--exit-dir", order.exits]
    line += ["-l", f"k8s-file:{order.log_path}" if order.log_path else "none", "--no-sync-log"]
    if order.log_size and order.log_path:
        line += ["--log-size-max", str(order.log_size)]
    line += ["--log-level", "error"]
    for argument in order.runtime_args:
        line += ["--runtime-arg", argument]
    line += ["-s"] * order.systemd + ["-t"] * order.terminal + ["-i"] * order.stdin
    if order.stdin and not order.stdin_once:
        line.append("--leave-stdin-open")
    if order.exit_command:
        line += ["--exit-command", order.exit_command[0]]
        for argument in order.exit_command[1:]:
            line += ["--exit-command-arg", argument]
    return line


class Begun:
    """A conmon that was started and waits for `create`; as a context, one that was not asked to is ended.

    It needs 3 ms to be ready, in which its caller writes config.json.
    """

    def __init__(self, order: Order, settle: Callable[[int], None]) -> None:
        """`settle` gets conmon's first PID before it forks, to put it into its cgroup. Raises NotFound."""
        self._order = order
        self._report, report_end = os.pipe2(os.O_CLOEXEC)
        start_end, self._start = os.pipe2(os.O_CLOEXEC)
        words = os.open(
            f"{order.bundle}/conmon.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        env = {
            **process.MINIMAL_ENV,
            "_OCI_SYNCPIPE": str(report_end),
            "_OCI_STARTPIPE": str(start_end),
        }
        try:
            # In the bundle, because conmon leaves the file `oom` where it stands.
            self._child = process.spawn(
                argv(order), env=env, pass_fds=(report_end, start_end), stderr=words, cwd=order.bundle
            )
        except BaseException:
            os.close(self._report)
            os.close(self._start)
            raise
        finally:
            for descriptor in (report_end, start_end, words):
                os.close(descriptor)
        settle(self._child.pid)

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *_: object) -> None:
        if self._start >= 0:  # at the end of the pipe it would begin
            self._child.kill()
            self._child.wait()
            os.close(self._start)
        os.close(self._report)

    def create(self) -> int:
        """Let it create the container, whose PID it reports. Raises Refused, TimedOut."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already: the report says so
            os.write(self._start, b"x")
        os.close(self._start)
        self._start = -1
        try:
            return _reported(self._report, self._order)
        finally:
            with contextlib.suppress(TimedOut):
                # The first of the two forks ended long ago: no zombie is left.
                self._child.wait(limits.EXIT_RECORD)


def _reported(report: int, order: Order) -> int:
    """The PID from conmon's line `{"data": PID}`, or `{"data": -1, "message": "..."}`."""
    collected = b""
    deadline = time.monotonic() + limits.RUNTIME_TIMEOUT
    poller = select.poll()
    poller.register(report, select.POLLIN)
    while b"\n" not in collected and len(collected) < _MESSAGE:
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            raise TimedOut(
                f"container {order.id[:12]}",
                f"the runtime did not create it in {limits.RUNTIME_TIMEOUT:g} s",
                hint=f"see: {order.bundle}/conmon.log",
            )
        data = os.read(report, _MESSAGE)
        if not data:
            break
        collected += data
    try:
        message = json.loads(collected.partition(b"\n")[0])
        pid = int(message["data"])
    except (ValueError, KeyError, TypeError):
        raise Refused("") from None
    if pid <= 0:
        raise Refused(str(message.get("message") or ""))
    return pid


def tell(bundle: str, kind: int, rows: int = 0, columns: int = 0) -> bool:
    """Send conmon a message on its control FIFO; False where no conmon listens."""
    try:
        fifo = os.open(f"{bundle}/ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fifo, f"{kind} {rows} {columns}\n".encode())
    except OSError:
        return False
    finally:
        os.close(fifo)
    return True


def has_open(pid: int, path: str) -> bool:
    """Whether the process has this very file open."""
    try:
        wanted = os.stat(path, follow_symlinks=False)
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), wanted):
                return True
    return False


def has_open_below(pid: int, folder: str) -> bool:
    """Whether the process has a file open that is in this folder, or deeper; so does one that has ended."""
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return True
    for name in names:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith(folder.rstrip("/") + "/"):
                return True
    return not os.path.exists(f"/proc/{pid}/fd/0")


def pid_of(bundle: str, identifier: str) -> int:
    """The PID of the container's conmon; 0 where it has ended. A PID that others have now is not it."""
    pid = number(f"{bundle}/conmon.pid")
    return pid if pid and is_for(pid, identifier) else 0


def is_for(pid: int, identifier: str) -> bool:
    """Whether this process is a conmon of the container."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            words = stream.read().split(b"\0")
    except OSError:
        return False
    return b"-c" in words and identifier.encode() in words and words[0].endswith(b"conmon")


def search(identifier: str) -> list[int]:
    """Every conmon of the container, also one that has not written its PID yet."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and is_for(int(name), identifier)]


def number(path: str) -> int:
    """The number in a small file; 0 where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            text = stream.read(32).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0
