"""The loopback interface of a pod's namespace, brought up in process: 0.1 ms instead of a plugin's 5.

See netdevice(7), SIOCSIFFLAGS.
"""

from __future__ import annotations

import _socket  # the C half only: `socket` costs the run path 2 ms
import fcntl
import os
import struct
import threading

from orlop.kit import kernel
from orlop.kit.errors import NotFound, OrlopError, Unsupported

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFREQ = struct.Struct("16sH22x")


def up(netns: str) -> None:
    """Bring `lo` up in the network namespace pinned at `netns`. Asked twice is harmless.

    Raises NotFound where no namespace is pinned there, Unsupported where the kernel says no.
    """
    failure: list[OrlopError] = []

    def inside() -> None:  # in a thread of its own, which ends here: setns moves the calling thread
        try:
            _enter(netns)
            up_here()
        except OrlopError as error:
            failure.append(error)

    thread = threading.Thread(target=inside, name="loopback")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def up_here() -> None:
    """Bring `lo` up in the network namespace of the calling thread."""
    try:
        control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            raw = fcntl.ioctl(control.fileno(), _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
            flags = _IFREQ.unpack(raw)[1]
            fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
        finally:
            control.close()
    except OSError as error:
        raise Unsupported(
            "interface lo", f"cannot be brought up: {error.strerror}", hint="run as root (CAP_NET_ADMIN)"
        ) from error


def _enter(netns: str) -> None:
    try:
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(netns, f"cannot be opened: {error.strerror}", hint="start the pod anew") from error
    try:
        kernel.setns(descriptor, kernel.CLONE_NEWNET)
    except OSError as error:
        raise NotFound(
            netns,
            f"is not a network namespace that can be entered: {error.strerror}",
            hint="start the pod anew",
        ) from error
    finally:
        os.close(descriptor)
