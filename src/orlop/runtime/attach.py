"""Follow a container's streams through conmon's attach socket (SEQPACKET), and feed its input.

Several sessions may be open at the same time; closing one changes nothing for the container.
"""

from __future__ import annotations

import _socket as socket  # the C part has all of it; the Python part costs 4 ms of `orlop run`
import os

from orlop.kit import limits
from orlop.kit.errors import Conflict

_PACKET = 32 * limits.KIB + 1  # conmon sends one byte for the stream, then up to 32 KiB
_INPUT = 8192  # conmon reads in pieces of this size; a longer packet would be cut


class AttachSession:
    """A connection. The first byte of each packet is the stream: 2 output, 3 error (conmon's numbers)."""

    def __init__(self, bundle: str, subject: str) -> None:
        """Raises Conflict where no conmon listens."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            # The path may be longer than a socket's name can be: by way of the folder's descriptor.
            folder = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._socket.connect(f"/proc/self/fd/{folder}/attach")
            finally:
                os.close(folder)
        except OSError as error:
            self._socket.close()
            raise Conflict(
                subject, "does not run, so nothing can be attached to it", hint="start it"
            ) from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> tuple[int, bytes] | None:
        """The next piece as (1 for output or 2 for error, bytes); None once the container's streams ended.

        Blocks until there is one.
        """
        try:
            packet = self._socket.recv(_PACKET)
        except ConnectionResetError:
            return None
        if not packet:
            return None
        return (2 if packet[0] == 3 else 1), packet[1:]

    def send(self, data: bytes) -> int:
        """Give the container input without blocking; returns how many bytes were taken.

        Raises BlockingIOError (poll for writing), BrokenPipeError or ConnectionResetError (it has ended).
        """
        return self._socket.send(data[:_INPUT], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def close_input(self) -> None:
        """End of input: the container reads the end of file, unless its input stays open for others."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has ended already

    def close(self) -> None:
        """Detach."""
        self._socket.close()

    def __enter__(self) -> AttachSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
