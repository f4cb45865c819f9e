"""The one door for child processes: argv only, explicit environment, a time limit, output captured once.

Children are made by posix_spawn(3): a vfork that costs the same from a small command and from a large
daemon, and none of the 4 ms that importing `subprocess` costs at start.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Mapping, Sequence

from orlop.kit import limits
from orlop.kit.errors import LimitExceeded, NotFound, ProcessFailed, TimedOut, Unsupported
from orlop.kit.spawn import spawn as started
from orlop.kit.value import dataclass

#: What a child gets when its caller names no environment: enough to find programs, nothing of the user's.
MINIMAL_ENV: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}

_CHUNK = 64 * limits.KIB
_LAST_WORDS = 2000
_SIGKILL = 9


@dataclass(frozen=True)
class Completed:
    """A child that ended. `status` is its exit code, or minus the signal's number."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


class Child:
    """A child that was started: wait for it, or let it go."""

    def __init__(self, argv: tuple[str, ...], pid: int) -> None:
        self.argv = argv
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its status if it has ended (see `Completed.status`), else None."""
        if self.returncode is None:
            self._reap(os.WNOHANG)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its status. Raises TimedOut after `timeout` seconds; the child goes on."""
        if timeout is not None and self.poll() is None:
            handle = os.pidfd_open(self.pid)
            try:
                if not _readable(handle, timeout):
                    raise _too_slow(self.argv, timeout)
            finally:
                os.close(handle)
        if self.returncode is None:
            self._reap(0)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """SIGKILL to it and to every process of its session; no error if it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, _SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, _SIGKILL)

    def _reap(self, flags: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, flags)
        except ChildProcessError:  # somebody else has waited for it: its status is lost
            self.returncode = 255
            return
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)


def run(
    argv: Sequence[str],
    *,
    timeout: float = limits.PROCESS_TIMEOUT,
    env: Mapping[str, str] = MINIMAL_ENV,
    stdin: bytes = b"",
    check: bool = True,
    pass_fds: Sequence[int] = (),
    output_limit: int = limits.PROCESS_OUTPUT,
    hint: str = "run the command by hand to see more",
) -> Completed:
    """Run a program to its end and return what it said.

    Raises NotFound (no such program), TimedOut (killed, with its whole process group, after `timeout`
    seconds), LimitExceeded (more than `output_limit` bytes of output; killed likewise) and, with `check`,
    ProcessFailed (a non-zero status).
    """
    with _Exchange(stdin, output_limit) as exchange:
        child = exchange.spawn(argv, env, pass_fds)
        try:
            exchange.finish(child, timeout)
        except BaseException:
            child.kill()
            child.wait()
            raise
    done = Completed(child.argv, child.wait(), bytes(exchange.out), bytes(exchange.err))
    if check and done.status != 0:
        raise failed(done, hint=hint)
    return done


def failed(done: Completed, *, hint: str) -> ProcessFailed:
    """The error for a child that said no, its last words included."""
    words = (done.stderr.strip() or done.stdout.strip()).decode(errors="replace")[-_LAST_WORDS:]
    how = f"exit status {done.status}" if done.status >= 0 else f"killed by {_signal_name(-done.status)}"
    return ProcessFailed(
        printable(done.argv),
        f"{how}: {words}" if words else how,
        hint=hint,
        argv=done.argv,
        status=done.status,
        stderr=words,
    )


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] = MINIMAL_ENV,
    pass_fds: Sequence[int] = (),
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    session: bool = True,
    cwd: str = "",
) -> Child:
    """Start a program that outlives this call (conmon, the supervisor); the caller waits or lets it go.

    Streams are file descriptors; None is /dev/null. `session`: in a session of its own, so that a terminal's
    signals do not reach it. `pass_fds` keep their numbers. `cwd`: its working folder, else ours. Raises
    NotFound and Unsupported.
    """
    program = _find(argv[0], env)
    try:
        pid = started(
            program,
            argv,
            env,
            streams=(stdin, stdout, stderr),
            passed=pass_fds,
            session=session,
            cwd=cwd,
        )
    except OSError as error:
        raise Unsupported(
            program, f"cannot be started: {error.strerror}", hint="see that it is a program of this machine"
        ) from error
    return Child(tuple(argv), pid)


def printable(argv: Sequence[str]) -> str:
    """`argv` as one line that can be pasted into a shell."""
    import shlex  # only errors and debug logs pay for it

    return shlex.join(argv)


class _Exchange:
    """What goes to and comes from a child: its pipes, served until both outputs close."""

    def __init__(self, stdin: bytes, limit: int) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self._pending = memoryview(stdin)
        self._limit = limit
        self._in: int | None = None
        self._open: set[int] = set()

    def __enter__(self) -> _Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in list(self._open):
            self._close(descriptor)

    def spawn(self, argv: Sequence[str], env: Mapping[str, str], pass_fds: Sequence[int]) -> Child:
        """Start the child with our pipes as its streams, and keep our ends only."""
        out, out_write = self._pipe()
        err, err_write = self._pipe()
        in_read = None
        if self._pending:
            in_read, self._in = self._pipe()
        self._collected = {out: self.out, err: self.err}
        child = spawn(argv, env=env, pass_fds=pass_fds, stdin=in_read, stdout=out_write, stderr=err_write)
        for theirs in (out_write, err_write, in_read):
            if theirs is not None:
                self._close(theirs)
        return child

    def finish(self, child: Child, timeout: float) -> None:
        """Feed and drain until it ends. Raises TimedOut and LimitExceeded; the child still runs then."""
        deadline = time.monotonic() + timeout
        poll = select.poll()
        for descriptor in self._collected:
            poll.register(descriptor, select.POLLIN)
        if self._in is not None:
            os.set_blocking(self._in, False)
            poll.register(self._in, select.POLLOUT)
        outputs = len(self._collected)
        while outputs:
            left = deadline - time.monotonic()
            ready = poll.poll(left * 1000) if left > 0 else []
            if not ready:
                raise _too_slow(child.argv, timeout)
            for descriptor, _ in ready:
                ended = self._feed(descriptor) if descriptor == self._in else self._drain(child, descriptor)
                if ended:
                    outputs -= descriptor in self._collected
                    poll.unregister(descriptor)
                    self._close(descriptor)
        child.wait(max(0.0, deadline - time.monotonic()))

    def _feed(self, descriptor: int) -> bool:
        try:
            self._pending = self._pending[os.write(descriptor, self._pending[:_CHUNK]) :]
        except BrokenPipeError:
            return True  # it has read enough; its status will tell
        return not self._pending

    def _drain(self, child: Child, descriptor: int) -> bool:
        data = os.read(descriptor, _CHUNK)
        self._collected[descriptor] += data
        if len(self.out) + len(self.err) > self._limit:
            raise LimitExceeded(
                printable(child.argv),
                f"more than {self._limit} bytes of output",
                hint="raise the limit, or ask the program for less",
            )
        return not data

    def _pipe(self) -> tuple[int, int]:
        pair = os.pipe()
        self._open.update(pair)
        if min(pair) > 2:
            return pair
        return self._above(pair[0]), self._above(pair[1])

    def _above(self, descriptor: int) -> int:
        """Out of the way of the child's own 0, 1 and 2: our caller was started with one of them closed."""
        import fcntl

        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
        self._open.add(moved)
        self._close(descriptor)
        return moved

    def _close(self, descriptor: int) -> None:
        self._open.discard(descriptor)
        os.close(descriptor)


def _find(program: str, env: Mapping[str, str]) -> str:
    if "/" in program:
        if os.access(program, os.X_OK):
            return program
    else:
        for folder in env.get("PATH", MINIMAL_ENV["PATH"]).split(":"):
            path = os.path.join(folder, program)
            if os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
    raise NotFound(
        program, "no such program", hint=f"install the package that provides {program}, or set its path"
    )


def _readable(descriptor: int, timeout: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _too_slow(argv: Sequence[str], timeout: float) -> TimedOut:
    return TimedOut(
        printable(argv),
        f"no end after {timeout:g} s",
        hint="see what it waits for; if it was ours, it was killed",
    )


def _signal_name(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
