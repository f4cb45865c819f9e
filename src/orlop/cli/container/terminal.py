"""The user's own terminal while a container has it: raw mode, size, and the keys that let go of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

DETACH = b"\x10\x11"  # ctrl-p ctrl-q


class Detached(Exception):
    """The user pressed the detach keys."""


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes through as it is, for the `with` block; nothing changes where there is no terminal."""
    if not os.isatty(descriptor):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size(descriptor: int) -> tuple[int, int] | None:
    """(columns, lines) of the terminal, None where it is none or does not know."""
    try:
        columns, lines = os.get_terminal_size(descriptor)
    except OSError:
        return None
    return (columns, lines) if columns and lines else None


class DetachKeys:
    """Watches what is typed for DETACH; a first half is held back until the next key decides."""

    def __init__(self) -> None:
        self._held = b""

    def pass_on(self, typed: bytes) -> bytes:
        """What goes to the container. Raises Detached."""
        data = self._held + typed
        if DETACH in data:
            raise Detached
        self._held = data[-1:] if data.endswith(DETACH[:1]) else b""
        return data[: len(data) - len(self._held)]
