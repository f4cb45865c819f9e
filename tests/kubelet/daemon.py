"""`orlop serve` in the cluster's network namespace: started, killed, and started again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

from orlop.kit.node import Node
from tests.kubelet.cluster import inside

_START_SECONDS = 30.0


class Daemon:
    """The daemon of one node."""

    def __init__(self, node: Node, netns: str) -> None:
        self.node = node
        self.netns = netns
        self.socket = node.in_state("orlop.sock")
        self.log = node.in_root("serve.log")
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    def argv(self, *arguments: str) -> list[str]:
        where = [f"--root={self.node.root}", f"--state={self.node.state}", f"--config={self.node.config}"]
        return [sys.executable, "-m", "orlop", *arguments, *where]

    def orlop(self, *arguments: str) -> str:
        """Run a command on the same node, in the machine's network; returns what it printed."""
        done = subprocess.run(self.argv(*arguments), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"orlop {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                [*inside(self.netns), *self.argv("serve", f"--listen={self.endpoint}")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_it_serves()

    def kill(self) -> None:
        """SIGKILL at this instant."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.kill()

    def _wait_until_it_serves(self) -> None:
        import grpc

        deadline = time.monotonic() + _START_SECONDS
        with grpc.insecure_channel(self.endpoint) as channel:
            try:
                grpc.channel_ready_future(channel).result(deadline - time.monotonic())
            except grpc.FutureTimeoutError:
                with open(self.log, encoding="utf-8") as log:
                    raise AssertionError(f"the daemon does not serve: {log.read()[-2000:]}") from None
