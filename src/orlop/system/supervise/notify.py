"""Telling systemd how the service is (sd_notify(3)), where it asked to be told."""

from __future__ import annotations

import contextlib
import os
import socket


def ready() -> None:
    _send(b"READY=1")


def stopping() -> None:
    _send(b"STOPPING=1")


def _send(message: bytes) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(message, address)
