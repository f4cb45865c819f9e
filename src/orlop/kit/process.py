"""The one door for child processes: argv only, explicit environment, a time limit, output captured once."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from orlop.kit import limits
from orlop.kit.errors import LimitExceeded, NotFound, ProcessFailed, TimedOut
from orlop.kit.value import dataclass

#: What a child gets when its caller names no environment: enough to find programs, nothing of the user's.
MINIMAL_ENV: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}

_CHUNK = 64 * limits.KIB
_LAST_WORDS = 2000


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


def run(
    argv: Sequence[str],
    *,
    timeout: float = limits.PROCESS_TIMEOUT,
    env: Mapping[str, str] = MINIMAL_ENV,
    stdin: bytes = b"",
    cwd: str | None = None,
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
    child = _start(argv, env=env, cwd=cwd, pass_fds=pass_fds, stdin=subprocess.PIPE if stdin else None)
    try:
        stdout, stderr = _communicate(child, argv, stdin, time.monotonic() + timeout, timeout, output_limit)
    except BaseException:
        _kill_group(child)
        raise
    done = Completed(tuple(argv), child.returncode, stdout, stderr)
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
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start a program that outlives this call (conmon, the supervisor); the caller waits or lets it go.

    Streams are file descriptors; None is /dev/null. `session`: in a session of its own, so that a terminal's
    signals do not reach it. Raises NotFound.
    """
    null = subprocess.DEVNULL
    return _popen(
        argv,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
        stdin=null if stdin is None else stdin,
        stdout=null if stdout is None else stdout,
        stderr=null if stderr is None else stderr,
        session=session,
    )


def printable(argv: Sequence[str]) -> str:
    """`argv` as one line that can be pasted into a shell."""
    import shlex  # only errors and debug logs pay for it

    return shlex.join(argv)


def _start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    pass_fds: Sequence[int],
    stdin: int | None,
) -> subprocess.Popen[bytes]:
    return _popen(
        argv,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        session=True,
    )


def _popen(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    pass_fds: Sequence[int],
    stdin: int,
    stdout: int,
    stderr: int,
    session: bool,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            pass_fds=tuple(pass_fds),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=session,
        )
    except FileNotFoundError as error:
        raise NotFound(
            argv[0], "no such program", hint=f"install the package that provides {argv[0]}, or set its path"
        ) from error


def _communicate(
    child: subprocess.Popen[bytes],
    argv: Sequence[str],
    stdin: bytes,
    deadline: float,
    timeout: float,
    output_limit: int,
) -> tuple[bytes, bytes]:
    """Feed and drain all three pipes until both outputs close, within the deadline and the output limit."""
    collected: dict[object, bytearray] = {child.stdout: bytearray(), child.stderr: bytearray()}
    pending = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        for stream in (child.stdout, child.stderr):
            assert stream is not None
            selector.register(stream, selectors.EVENT_READ)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise _too_slow(argv, timeout)
            for key, _ in ready:
                if key.fileobj is child.stdin:
                    pending = _feed(child, pending)
                    if not pending:
                        selector.unregister(child.stdin)
                        child.stdin.close()
                    continue
                data = os.read(key.fd, _CHUNK)
                collected[key.fileobj] += data
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
                elif sum(map(len, collected.values())) > output_limit:
                    raise LimitExceeded(
                        printable(argv),
                        f"more than {output_limit} bytes of output",
                        hint="raise the limit, or ask the program for less",
                    )
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _too_slow(argv, timeout) from None
    return bytes(collected[child.stdout]), bytes(collected[child.stderr])


def _feed(child: subprocess.Popen[bytes], pending: memoryview) -> memoryview:
    assert child.stdin is not None
    try:
        return pending[os.write(child.stdin.fileno(), pending[:_CHUNK]) :]
    except BrokenPipeError:
        return pending[:0]  # it has read enough; its status will tell


def _too_slow(argv: Sequence[str], timeout: float) -> TimedOut:
    return TimedOut(
        printable(argv),
        f"no end after {timeout:g} s",
        hint="see what it waits for; the process group was killed",
    )


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
