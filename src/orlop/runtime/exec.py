"""One more process in a running container: by the runtime itself, no conmon in between.

The process's description and the runtime's log are memory files, so a crash leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time

from orlop.kit import files, limits, process
from orlop.kit.errors import Conflict, LimitExceeded, OrlopError
from orlop.kit.value import dataclass
from orlop.runtime import errors
from orlop.runtime import users as users_
from orlop.runtime.cgroups.prompt import PromptMoves
from orlop.runtime.spec.process import environment, working_folder

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.engine import Engine
    from orlop.runtime.model import Process

_CHUNK = 64 * limits.KIB
_PIPE = 64 * limits.KIB  # what a pipe holds at most, pipe(7)
_KILL_ROUNDS = 200
_PAUSE = 0.01
_JOINING = 0.05  # seconds in which the runtime has moved the new process into the container's cgroups
_SIGKILL = 9  # the module signal costs 1 ms of `orlop run`
_SIGWINCH = 28


@dataclass(frozen=True)
class ExecResult:
    """`exit_code` is exact (128 + the signal's number where one killed it, 137 after `timed_out`)."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


def exec_sync(
    engine: Engine,
    identifier: str,
    asked: Process,
    *,
    timeout: float | None = None,
    stdin: bytes = b"",
    user: str = "",
    output_limit: int = limits.EXEC_OUTPUT,
    cut: bool = False,
) -> ExecResult:
    """Run `asked` to its end and return what it said.

    It has the container's environment (with `asked.env` over it), folder and user where none are given.
    After `timeout` seconds it is killed with all that it started; the container goes on. Returns when the
    process itself has ended: what it left in the background is not waited for. Output beyond the limit is
    an error, or dropped with `cut`. Raises Conflict (the container does not run), CommandNotFound,
    CommandDenied, LimitExceeded (killed likewise).
    """
    with PromptMoves(_JOINING), contextlib.ExitStack() as stack:
        call = _Call(engine, identifier, asked, user, terminal=False)
        stack.callback(call.close)
        out, out_end = _pipe(stack)
        err, err_end = _pipe(stack)
        child_in = _input(stdin, stack)
        child = process.spawn(call.argv, pass_fds=call.fds, stdin=child_in, stdout=out_end, stderr=err_end)
        try:
            os.close(out_end)
            os.close(err_end)
            timed_out, collected = _collect(child, (out, err), timeout, output_limit, cut)
        except BaseException:
            call.kill(child)
            raise
        if timed_out:
            call.kill(child)
        status = child.wait()
        call.raise_failure(status)
        code = status if status >= 0 else 128 - status
        return ExecResult(137 if timed_out else code, bytes(collected[out]), bytes(collected[err]), timed_out)


def exec_attached(
    engine: Engine,
    identifier: str,
    asked: Process,
    stdin_fd: int | None,
    stdout_fd: int,
    stderr_fd: int,
    *,
    tty: bool = False,
    user: str = "",
) -> int:
    """Run `asked` with these descriptors as its streams and return its exit code.

    With `tty` the three are a terminal, which the runtime joins to one in the container, its size included.
    Raises as `exec_sync`. If this call is interrupted, the process is killed.
    """
    if tty and _hands_over(engine, identifier):
        return _joined(_on_terminal(engine, identifier, asked, user), stdin_fd, stdout_fd)
    call = _Call(engine, identifier, asked, user, terminal=tty)
    try:
        child = process.spawn(
            call.argv, pass_fds=call.fds, stdin=stdin_fd, stdout=stdout_fd, stderr=stderr_fd, session=False
        )
        try:
            status = child.wait()
        except BaseException:
            call.kill(child)
            raise
        call.raise_failure(status)
        return status if status >= 0 else 128 - status
    finally:
        call.close()


def exec_started(
    engine: Engine,
    identifier: str,
    asked: Process,
    stdin_fd: int | None,
    stdout_fd: int | None,
    stderr_fd: int | None,
    *,
    tty: bool = False,
    size: tuple[int, int] = (0, 0),
    user: str = "",
) -> Started:
    """Begin `asked` with these descriptors as its streams; for callers that wait in a loop of their own.

    With `tty` there is a terminal instead, `Started.terminal`, of `size` columns and lines where that is
    known; the descriptors are not used. Raises as far as `exec_sync` does before the runtime runs; what the
    runtime says comes with `Started.result`.
    """
    if tty:
        return _on_terminal(engine, identifier, asked, user, size)
    call = _Call(engine, identifier, asked, user, terminal=False)
    return _begun(call, stdin_fd, stdout_fd, stderr_fd)


def _begun(call: _Call, stdin: int | None, stdout: int | None, stderr: int | None) -> Started:
    child: process.Child | None = None
    try:
        child = process.spawn(call.argv, pass_fds=call.fds, stdin=stdin, stdout=stdout, stderr=stderr)
        return Started(call, child)
    except BaseException:
        if child is not None:
            call.kill(child)
        call.close()
        raise


def _hands_over(engine: Engine, identifier: str) -> bool:
    """Whether the container's runtime gives a terminal away and still waits for the process."""
    return os.path.basename(engine.program(engine.handler_of(identifier))) == "crun"


def _joined(started: Started, stdin: int | None, stdout: int) -> int:
    """Its exit code, after it had the user's terminal. It is killed if this call is interrupted."""
    from orlop.runtime import console

    try:
        if started.terminal >= 0:
            console.join(started.terminal, started.child, stdin, stdout)
        return started.result()
    except BaseException:
        started.kill()
        raise
    finally:
        started.close()


def _on_terminal(
    engine: Engine, identifier: str, asked: Process, user: str, size: tuple[int, int] = (0, 0)
) -> Started:
    from orlop.runtime import console

    if not _hands_over(engine, identifier):
        ours, theirs = console.pair()
        try:
            started = _begun(_Call(engine, identifier, asked, user, terminal=True), theirs, theirs, theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        started.terminal = ours
        return started
    handover = console.Handover(engine.bundle(identifier))
    try:
        call = _Call(engine, identifier, asked, user, terminal=True, console=handover.path, size=size)
        started = _begun(call, None, None, None)
        try:
            started.terminal = handover.take(started.child)
        except BaseException:
            started.kill()
            started.close()
            raise
        return started
    finally:
        handover.close()


class Started:
    """A process under way in a container, and the runtime that waits for it. The caller closes this.

    `terminal` is our end of its terminal, which the caller closes; -1 where it has none.
    """

    def __init__(self, call: _Call, child: process.Child) -> None:
        self._call, self.child = call, child
        self.terminal = -1
        self._ended = os.pidfd_open(child.pid)

    def fileno(self) -> int:
        """Readable once it has ended."""
        return self._ended

    def result(self) -> int:
        """Its exit code, once it has ended. Raises as `exec_sync`."""
        status = self.child.wait()
        self._call.raise_failure(status)
        return status if status >= 0 else 128 - status

    def resized(self) -> None:
        """Tell the runtime that the size of the terminal has changed; no error if it has ended."""
        if self.child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child.pid, _SIGWINCH)

    def kill(self) -> None:
        """SIGKILL to the process and what it started; returns when it has ended. The container goes on."""
        if self.child.poll() is None:
            self._call.kill(self.child)

    def close(self) -> None:
        """Let go of it, once it has ended."""
        os.close(self._ended)
        self._call.close()


class _Call:
    """One `RUNTIME exec`: its command line and the files that it needs."""

    def __init__(
        self,
        engine: Engine,
        identifier: str,
        asked: Process,
        user: str,
        *,
        terminal: bool,
        console: str = "",
        size: tuple[int, int] = (0, 0),
    ) -> None:
        self._engine, self._id, self._asked = engine, identifier, asked
        what = _described(engine, identifier, asked, user, terminal=terminal)
        if any(size):
            what["consoleSize"] = {"width": size[0], "height": size[1]}
        described = json.dumps(what).encode()
        self._pid_file = f"{engine.bundle(identifier)}/exec-{files.unique()}.pid"
        self._description = os.memfd_create("process.json")
        os.write(self._description, described)
        self._log = os.memfd_create("log")
        self.fds = (self._description, self._log)
        self.argv = [
            *engine.command(identifier, f"/proc/self/fd/{self._log}"),
            "exec",
            "--process",
            f"/proc/self/fd/{self._description}",
            "--pid-file",
            self._pid_file,
            *(("--console-socket", console) if console else ()),
            identifier,
        ]

    def close(self) -> None:
        for descriptor in self.fds:
            os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._pid_file)

    def raise_failure(self, status: int) -> None:
        """The runtime's own failure, which an exit code alone cannot tell from the process's."""
        if status == 0:
            return
        words = ""
        for line in os.pread(self._log, _CHUNK, 0).decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("level") in ("error", "fatal"):
                    words = str(entry.get("msg", ""))
        if not words:
            return
        raise self._failure(words)

    def _failure(self, words: str) -> OrlopError:
        if self._engine.state(self._id) != "running":
            return Conflict(f"container {self._id[:12]}", f"does not run: {words}", hint="start it first")
        return errors.explained(self._id, self._asked.args[0] if self._asked.args else "", words)

    def kill(self, child: process.Child) -> None:
        """SIGKILL to the process and what it started, then to the runtime if that stays."""
        from orlop.runtime.conmon import number

        for _ in range(_KILL_ROUNDS):
            first = number(self._pid_file)
            victims = _family(first) if first else set()
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, _SIGKILL)
            if child.poll() is not None and not victims:
                return
            time.sleep(_PAUSE)
        child.kill()
        child.wait()


def _described(
    engine: Engine, identifier: str, asked: Process, user: str, *, terminal: bool
) -> dict[str, object]:
    """The container's own process with what is asked for put in its place."""
    config = engine.config_of(identifier)
    part, root = config["process"], config["root"]
    assert isinstance(part, dict)
    assert isinstance(root, dict)
    described: dict[str, object] = {key: value for key, value in part.items() if key != "oomScoreAdj"}
    home = "/"
    if user:
        who = users_.resolve(root["path"], user)
        described["user"] = {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)}
        home = who.home
        kept = [entry for entry in part["env"] if not entry.startswith("HOME=")]
    else:
        kept = list(part["env"])
    described["env"] = environment((*kept, *asked.env), home, terminal=terminal)
    described["args"] = list(asked.args)
    described["terminal"] = terminal
    if asked.cwd:
        described["cwd"] = working_folder(asked.cwd)
    return described


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    """Both ends, closed with the stack unless closed before."""
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    stack.callback(os.close, read)
    return read, write


def _input(data: bytes, stack: contextlib.ExitStack) -> int | None:
    """A descriptor to read `data` from: a memory file never blocks the writer."""
    if not data:
        return None
    descriptor = os.memfd_create("stdin")
    stack.callback(os.close, descriptor)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _collect(
    child: process.Child, streams: tuple[int, int], timeout: float | None, limit: int, cut: bool
) -> tuple[bool, dict[int, bytearray]]:
    """What both streams said until the child ended; whether it was too slow."""
    collected = {descriptor: bytearray() for descriptor in streams}
    deadline = None if timeout is None else time.monotonic() + timeout
    poller = select.poll()
    ended = os.pidfd_open(child.pid)
    try:
        for descriptor in (*streams, ended):
            poller.register(descriptor, select.POLLIN)
        while True:
            left = None if deadline is None else (deadline - time.monotonic()) * 1000
            ready = poller.poll(left) if left is None or left > 0 else []
            if not ready:
                return True, collected
            for descriptor, _ in ready:
                if descriptor != ended and _read(descriptor, collected, limit, cut):
                    poller.unregister(descriptor)
            if any(descriptor == ended for descriptor, _ in ready):
                for descriptor in streams:
                    _drain(descriptor, collected, limit, cut)
                return False, collected
    finally:
        os.close(ended)


def _read(descriptor: int, collected: dict[int, bytearray], limit: int, cut: bool) -> bool:
    """Take what is there; True at the end of the stream."""
    try:
        data = os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return False
    room = limit - sum(map(len, collected.values()))
    if len(data) > room and not cut:
        raise LimitExceeded("exec", f"more than {limit} bytes of output", hint="write it to a file instead")
    collected[descriptor] += data[: max(0, room)]
    return not data


def _drain(descriptor: int, collected: dict[int, bytearray], limit: int, cut: bool) -> None:
    """Take what the ended process left in the pipe, not what others still write into it."""
    for _ in range(_PIPE // _CHUNK + 1):
        before = len(collected[descriptor])
        if _read(descriptor, collected, limit, cut) or len(collected[descriptor]) == before:
            return


def _family(first: int) -> set[int]:
    """The living processes that descend from `first`, or are of the session that it leads."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] in (b"Z", b"X"):
            continue
        pid = int(name)
        parents[pid] = int(fields[1])
        if pid == first or int(fields[3]) == first:
            found.add(pid)
    grew = True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return found
