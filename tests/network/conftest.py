"""A node of its own for each test, namespaces pinned by a thread, and everything taken away afterwards."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from orlop.kit import files, kernel
from orlop.kit.node import Node
from orlop.network import default, loopback
from orlop.network.model import Attachment, PortMapping
from orlop.network.network import Network
from orlop.network.settings import NetworkSettings

T = TypeVar("T")


class Lab:
    """A folder with nodes and pinned namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._networks: list[Network] = []
        self._pinned: list[str] = []

    def node(self, name: str = "node") -> Node:
        return Node(str(self.folder / name / "root"), str(self.folder / name / "state"))

    def network(self, name: str = "node", settings: NetworkSettings | None = None) -> Network:
        made = Network(self.node(name), settings or NetworkSettings())
        self._networks.append(made)
        return made

    def namespace(self, name: str) -> str:
        path = str(self.folder / f"{name}.net")
        if path in self._pinned:
            return path
        Path(path).touch()
        in_namespace("", lambda: _pin(path))
        self._pinned.append(path)
        loopback.up(path)
        return path

    def unpin(self, path: str) -> None:
        kernel.umount(path)
        self._pinned.remove(path)

    def attachment(self, name: str, *ports: PortMapping) -> Attachment:
        return Attachment(f"id-{name}", self.namespace(name), name, ports=ports)

    def clean(self) -> None:
        for network in self._networks:
            for record in network.pending():
                with contextlib.suppress(Exception):
                    network.delete(record.id)
            if network.pending():  # plugins of the test that never succeed
                files.remove_tree(network._records._folder)
            network.teardown()
        for path in list(self._pinned):
            self.unpin(path)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.clean()


def in_namespace(path: str, function: Callable[[], T]) -> T:
    """Call `function` in a thread that is in the namespace at `path` ("": a new one)."""
    found: list[T] = []
    failure: list[BaseException] = []

    def inside() -> None:
        try:
            if path:
                with open(path) as stream:
                    kernel.setns(stream.fileno(), kernel.CLONE_NEWNET)
            else:
                kernel.unshare(kernel.CLONE_NEWNET)
            found.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(30)
    if failure:
        raise failure[0]
    return found[0]


@contextlib.contextmanager
def serving(path: str, port: int, word: bytes, *, host: str = "0.0.0.0") -> Iterator[None]:
    """A server in the namespace that says `word` to everybody who connects."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = in_namespace(
        path, lambda: socket.create_server((host, port), family=family, dualstack_ipv6=":" in host)
    )

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(word)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)


def heard(address: str, port: int, path: str = "") -> bytes:
    """What the server there says; asked from the namespace at `path`, or from the machine."""

    def ask() -> bytes:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(100)

    return in_namespace(path, ask) if path else ask()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def iptables() -> str:
    return "".join(
        subprocess.run([f"ip{six}tables-save"], capture_output=True, text=True, check=True).stdout
        for six in ("", "6")
    )


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the kernel does in its own time."""
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")


def rules_of(word: str) -> list[str]:
    """The rules that name `word`; other tests may run meanwhile."""
    return [line for line in iptables().splitlines() if line.startswith("-A ") and word in line]


def veths(bridge: str) -> list[str]:
    folder = f"/sys/class/net/{bridge}/brif"
    return os.listdir(folder) if os.path.exists(folder) else []


def bridge_of(node: Node) -> str:
    return default._bridge_name(node)


def _pin(path: str) -> None:
    kernel.mount("/proc/thread-self/ns/net", path, flags=kernel.MS_BIND)
