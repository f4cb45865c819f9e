"""Work inside a pod's network namespace, in a thread that ends afterwards."""

from __future__ import annotations

import os
import threading

from orlop.kit import kernel

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable


def inside(netns: int, work: Callable[[], None]) -> None:
    """Run `work` in the namespace that the descriptor `netns` is of; its error is raised here."""
    failure: list[BaseException] = []

    def entered() -> None:
        try:
            kernel.setns(netns, kernel.CLONE_NEWNET)
            work()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=entered, name="netns")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def opened(path: str) -> int:
    """A descriptor of the namespace at `path`, which the caller closes. FileNotFoundError where none is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_dev != os.stat("/proc/self/ns/net").st_dev:  # a file whose mount is gone
        os.close(descriptor)
        raise FileNotFoundError(2, "no namespace is pinned there", path)
    return descriptor


def read(sysctl: str) -> str:
    """A sysctl (slashes, not dots) of the calling thread's namespace. Raises OSError."""
    descriptor = os.open(f"/proc/sys/{sysctl}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 100).decode().strip()
    finally:
        os.close(descriptor)


def write(sysctl: str, value: str) -> None:
    """Set a sysctl. Raises OSError."""
    descriptor = os.open(f"/proc/sys/{sysctl}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
