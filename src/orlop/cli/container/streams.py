"""A container's streams and this process's own, joined: bytes, signals, the terminal's size.

One thread, one poll(2). Nothing here blocks on the container's input while its output waits.
"""

from __future__ import annotations

import os
import select

from orlop.cli.container import terminal

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.runtime.attach import AttachSession

_CHUNK = 8192  # conmon reads its attach socket in pieces of this size; longer packets would be cut
_READ = select.POLLIN | select.POLLHUP | select.POLLERR
_FORWARDED = ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2")
_IMPATIENT = 3  # this many ^C, and the container is killed: as PID 1 it may well ignore them


class OutputClosed(Exception):
    """Whoever read our standard output went away."""


class Streams:
    """`kill(number)` sends the container a signal, `resize(columns, lines)` tells its terminal.

    `stdin`: pass ours on; `tty`: the container has a terminal; `signals`: pass those on that we get.
    """

    def __init__(
        self,
        session: AttachSession,
        *,
        stdin: bool,
        tty: bool,
        signals: bool = True,
        kill: Callable[[int], None],
        resize: Callable[[int, int], None],
    ) -> None:
        self._session = session
        self._forwarded = (_FORWARDED if signals else ()) + (("SIGWINCH",) if tty else ())
        self._kill = kill
        self._resize = resize
        self._input = b""  # read from us, not yet taken by the container
        self._input_open = stdin
        self._keys = terminal.DetachKeys()
        self._watched = tty and stdin and os.isatty(0)
        self._impatience = 0

    def join(self) -> None:
        """Return when the container's streams end; the session is closed. Raises Detached, OutputClosed."""
        try:
            if not self._watched:
                with _Signals(self._forwarded) as signals:
                    self._poll(signals)
                return
            with terminal.raw(0), _Signals(self._forwarded) as signals:
                self._fit()
                self._poll(signals)
        finally:
            self._session.close()  # who does not read must not listen: conmon would wait for us

    def _poll(self, signals: _Signals) -> None:
        session, poller = self._session.fileno(), select.poll()
        poller.register(signals.descriptor, _READ)
        while True:
            poller.register(session, _READ | (select.POLLOUT if self._input else 0))
            if self._input_open and not self._input:
                poller.register(0, _READ)
            else:
                _forget(poller, 0)
            for descriptor, events in poller.poll():
                if descriptor == signals.descriptor:
                    self._signalled(signals.received())
                elif descriptor == 0:
                    self._read_input()
                else:
                    if events & select.POLLOUT:
                        self._send()
                    if events & _READ and not self._receive():
                        return

    def _receive(self) -> bool:
        """Pass on what came; False at the end."""
        packet = self._session.receive()
        if packet is None:
            return False
        stream, data = packet
        write_all(stream, data)
        return True

    def _read_input(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except OSError:  # it was closed, or its terminal is gone
            data = b""
        if not data:
            self._input_open = False
            self._session.close_input()
            return
        self._input = self._keys.pass_on(data) if self._watched else data
        if self._input:
            self._send()

    def _send(self) -> None:
        try:
            self._input = self._input[self._session.send(self._input) :]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._input, self._input_open = b"", False  # it has closed its input, or ended: output will tell

    def _signalled(self, numbers: bytes) -> None:
        import signal

        for number in numbers:
            if number == signal.SIGWINCH:
                self._fit()
                continue
            if number in (signal.SIGINT, signal.SIGTERM):
                self._impatience += 1
            self._kill(signal.SIGKILL if self._impatience >= _IMPATIENT else number)

    def _fit(self) -> None:
        wanted = terminal.size(0)
        if wanted is not None:
            self._resize(*wanted)


class _Signals:
    """Signals become bytes on a descriptor for the `with` block."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __enter__(self) -> _Signals:
        import signal  # after the container's start: it costs 1 ms

        self.descriptor, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = {
            name: signal.signal(getattr(signal, name), lambda number, frame: None) for name in self._names
        }
        return self

    def __exit__(self, *_: object) -> None:
        import signal

        for name, handler in self._handlers.items():
            signal.signal(getattr(signal, name), handler)
        signal.set_wakeup_fd(self._before)
        os.close(self.descriptor)
        os.close(self._write)

    def received(self) -> bytes:
        try:
            return os.read(self.descriptor, 64)
        except BlockingIOError:
            return b""


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything, also where somebody made the stream non-blocking. Raises OutputClosed."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(descriptor, select.POLLOUT)
            poller.poll()
        except OSError as error:  # EPIPE; EIO where the terminal is gone
            raise OutputClosed from error


def _forget(poller: select.poll, descriptor: int) -> None:
    try:
        poller.unregister(descriptor)
    except KeyError:
        return
