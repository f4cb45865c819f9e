"""The daemon as the kubelet meets it: `daemon(node)` starts the real `orlop serve`, `Client` speaks to it.

with temporary_node() as node, daemon(node) as running, Client(running.socket) as client:
    client.Version(pb.VersionRequest())

`Client` has a method for every RPC of the interface, by its name; one that streams gives an iterator.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node

_SIZE = 16 * 1024 * 1024
_START = 30.0  # seconds until the daemon answers


class Client:
    """A synchronous client. A failed call raises grpc.RpcError with `code()` and `details()`."""

    def __init__(self, socket: str, *, version: str = "v1") -> None:
        options = [
            ("grpc.max_receive_message_length", _SIZE),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 50),
            ("grpc.max_reconnect_backoff_ms", 200),
        ]
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        self._calls: dict[str, Any] = {}
        for service in pb.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                kind = self._channel.unary_stream if method.server_streaming else self._channel.unary_unary
                self._calls[method.name] = kind(
                    f"/runtime.{version}.{service.name}/{method.name}",
                    request_serializer=getattr(pb, method.input_type.name).SerializeToString,
                    response_deserializer=getattr(pb, method.output_type.name).FromString,
                )

    def __getattr__(self, name: str) -> Any:
        try:
            return self._calls[name]
        except KeyError:
            raise AttributeError(name) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


class Daemon:
    """A running `orlop serve`."""

    def __init__(self, node: Node, *arguments: str, socket: str = "") -> None:
        self.node = node
        self.socket = socket or node.in_state("orlop.sock")
        self.log = Path(node.root).parent / "serve.log"
        self._arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Answers afterwards."""
        self._spawn()
        assert self.process is not None
        deadline = time.monotonic() + _START
        while True:
            with contextlib.suppress(grpc.RpcError), Client(self.socket) as client:
                client.Version(pb.VersionRequest(), timeout=1)
                return
            assert self.process.poll() is None, f"the daemon ended: {self.said()}"
            assert time.monotonic() < deadline, f"the daemon does not answer: {self.said()}"
            time.sleep(0.02)

    def refuses(self) -> tuple[int, str]:
        """Start one that cannot serve: its exit status and what it said."""
        before = len(self.said())
        self._spawn()
        assert self.process is not None
        try:
            return self.process.wait(_START), self.said()[before:]
        finally:
            self.process.kill()

    def _spawn(self) -> None:
        folders = ("--root", self.node.root, "--state", self.node.state, "--config", self.node.config)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orlop", "serve", *folders, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; its exit status, negative where a signal ended it."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@contextlib.contextmanager
def daemon(node: Node, *arguments: str, socket: str = "", strict: bool = True) -> Iterator[Daemon]:
    """A daemon on the node for the `with` block; it may be stopped, killed and started again meanwhile.

    `socket` is where it listens, if not at the node's own place. A traceback in its log is a failure; where
    that is not `strict`, it is printed.
    """
    running = Daemon(node, *arguments, socket=socket)
    running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()
    said = running.said()
    place = said.find("Traceback")
    if place >= 0:
        print(f"the daemon's log has a traceback:\n{said[max(0, place - 500) : place + 4000]}")
    assert place < 0 or not strict, said[max(0, place - 500) : place + 4000]
