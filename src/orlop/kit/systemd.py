"""What systemd and its services say to each other: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).

Outside systemd all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

_FIRST_DESCRIPTOR = 3  # of those that systemd passes


def ready(status: str = "") -> None:
    """Requests are answered: at start, and after `reloading`."""
    _send("READY=1", f"STATUS={status}" if status else "")


def reloading() -> None:
    """The configuration is being read anew; `ready` ends it. (Type=notify-reload wants the time.)"""
    moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _send("RELOADING=1", f"MONOTONIC_USEC={moment}")


def status(text: str) -> None:
    """A line for `systemctl status`."""
    _send(f"STATUS={text}")


def stopping() -> None:
    """The service is about to end."""
    _send("STOPPING=1")


def alive() -> None:
    """The service works; to be said at least every `watchdog` seconds."""
    _send("WATCHDOG=1")


def watchdog() -> float:
    """Seconds after which systemd gives a silent service up; 0.0: it does not watch this process."""
    given = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", "")
    if not given.isdecimal() or (owner and owner != str(os.getpid())):
        return 0.0
    return int(given) / 1e6


def listening() -> list[socket.socket]:
    """The sockets that systemd listens on for this service, each once; children do not inherit them."""
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    count = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    found = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count or 0)):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found


def under_journal(descriptor: int = 2) -> bool:
    """Whether what is written to `descriptor` goes straight to journald (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        there = os.fstat(descriptor)
    except OSError:
        return False
    return device == str(there.st_dev) and inode == str(there.st_ino)


def _send(*lines: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    message = "\n".join(line for line in lines if line).encode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.setblocking(False)
        connection.sendto(message, address)
