"""Terminals of exec'd processes, for those who read and write them without one of their own.

crun is asked to hand over the container's terminal itself (`--console-socket`): joined to a terminal of ours,
as other runtimes are, crun 1.8 loses what a process that ends at once has said (one in ten, measured with
`echo`). A terminal that was handed over ends when the process does, because that leads the session.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import socket
import termios
import tty

from orlop.kit import files, limits
from orlop.kit.errors import TimedOut

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.kit.process import Child

_CHUNK = 64 * limits.KIB
_LOOK = 250  # milliseconds between two looks at the size of the user's terminal
_LINGER = 500  # milliseconds without a word, after which an ended process has said all


class Handover:
    """A socket below `folder` on which the runtime hands over a terminal. Close it afterwards."""

    def __init__(self, folder: str) -> None:
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._name = f"console-{files.unique()}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(limits.RUNTIME_TIMEOUT)
        try:
            self._listener.bind(f"/proc/self/fd/{self._folder}/{self._name}")
            self._listener.listen(1)
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> str:
        """For the runtime; short, whatever the folder's own is (unix(7) has 107 bytes)."""
        return f"/proc/{os.getpid()}/fd/{self._folder}/{self._name}"

    def take(self, runtime: Child) -> int:
        """The terminal's descriptor, which is the caller's; -1 where the runtime ended without one.

        Raises TimedOut.
        """
        ended = os.pidfd_open(runtime.pid)
        try:
            poller = select.poll()
            poller.register(self._listener, select.POLLIN)
            poller.register(ended, select.POLLIN)
            ready = {descriptor for descriptor, _ in poller.poll(limits.RUNTIME_TIMEOUT * 1000)}
            if not ready:
                raise TimedOut(
                    "exec", "the runtime gives no terminal", hint="see whether the machine is busy"
                )
            if self._listener.fileno() not in ready:
                return -1
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(limits.RUNTIME_TIMEOUT)
                _, descriptors, _, _ = socket.recv_fds(connection, limits.PATH_LENGTH, 1)
            return descriptors[0] if descriptors else -1
        finally:
            os.close(ended)

    def close(self) -> None:
        self._listener.close()
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except FileNotFoundError:  # it was never bound, or went with the container
            pass
        finally:
            os.close(self._folder)


def pair() -> tuple[int, int]:
    """Our end and the runtime's of a terminal that it joins to the container's, which does the editing."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    return ours, theirs


def join(terminal: int, runtime: Child, stdin: int | None, stdout: int) -> None:
    """Pass on what is typed and what is said, and the size, until the process has ended. Closes `terminal`.

    `stdin`, where it is a terminal, does no editing of its own meanwhile.
    """
    ended = os.pidfd_open(runtime.pid)
    try:
        os.set_blocking(terminal, False)
        with _raw(stdin):
            _pass_on(terminal, ended, stdin, stdout)
    finally:
        os.close(ended)
        os.close(terminal)


def _pass_on(terminal: int, ended: int, stdin: int | None, stdout: int) -> None:
    typed, size, over = b"", b"", False
    poller = select.poll()
    poller.register(ended, select.POLLIN)
    while True:
        size = _fit(terminal, stdout, size)
        poller.register(terminal, select.POLLIN | (select.POLLOUT if typed else 0))
        if stdin is not None:
            poller.register(stdin, 0 if typed else select.POLLIN)
        ready = dict(poller.poll(_LINGER if over else _LOOK))
        if over and not ready:
            return
        if ended in ready:
            poller.unregister(ended)
            over = True
        if stdin is not None and stdin in ready and not typed:
            typed = _read(stdin)
            if not typed:
                poller.unregister(stdin)
                stdin = None
        if ready.get(terminal, 0) & select.POLLOUT:
            with contextlib.suppress(BlockingIOError):
                typed = typed[os.write(terminal, typed) :]
        if ready.get(terminal, 0) & (select.POLLIN | select.POLLHUP):
            said = _read(terminal)
            if not said:
                return
            view = memoryview(said)
            while view:
                view = view[os.write(stdout, view) :]


def _read(descriptor: int) -> bytes:
    """b"" at the end, which a terminal calls an input/output error."""
    try:
        return os.read(descriptor, _CHUNK)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def _fit(terminal: int, user: int, before: bytes) -> bytes:
    """Give the terminal the size of the user's, if that changed."""
    size = array.array("H", [0] * 4)
    try:
        fcntl.ioctl(user, termios.TIOCGWINSZ, size)
    except OSError:  # no terminal
        return before
    if size.tobytes() != before:
        with contextlib.suppress(OSError):
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    return size.tobytes()


@contextlib.contextmanager
def _raw(descriptor: int | None) -> Iterator[None]:
    """Keys go through as they are typed; afterwards the terminal is as it was."""
    if descriptor is None or not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
