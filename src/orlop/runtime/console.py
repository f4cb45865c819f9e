"""Terminals of exec'd processes, for those who read and write them without one of their own.

crun is asked to hand over the container's terminal itself (`--console-socket`): joined to a terminal of ours,
as other runtimes are, crun 1.8 loses what a process that ends at once has said (one in ten, measured with
`echo`). A terminal that was handed over ends when the process does, because that leads the session.
"""

from __future__ import annotations

import os
import select
import socket
import tty

from orlop.kit import files, limits
from orlop.kit.errors import TimedOut

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.kit.process import Child


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
