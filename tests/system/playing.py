"""Playing on a node of its own, with a real supervisor process; afterwards nothing may be left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.model import Container
from orlop.system.play import PlayResult, play
from orlop.system.play_down import DownResult, play_down
from orlop.system.status import PodStatus, status
from orlop.system.supervise import start
from tests.support.node import temporary_node

#: A shell that ends at once when it is asked to.
CALM = "trap 'exit 0' TERM; while :; do sleep 0.1; done"


class Playing:
    """The verbs, without a loop around them."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.config = Config.load(node)
        self.pods = Pods(node, self.config)

    def play(self, *documents: dict[str, Any], wait: float | None = 30, **options: Any) -> PlayResult:
        text = yaml.safe_dump_all(documents)
        return asyncio.run(play(self.node, self.config, text, wait=wait, **options))

    def down(self, *documents: dict[str, Any], wait: float | None = 60, **options: Any) -> DownResult:
        text = yaml.safe_dump_all(documents) if documents else None
        return asyncio.run(play_down(self.node, text, wait=wait, **options))

    def status(self, name: str = "web") -> PodStatus:
        return next(pod for pod in status(self.node, self.config) if pod.name == name)

    def names(self) -> list[str]:
        return sorted(pod.name for pod in status(self.node, self.config))

    def running(self) -> dict[str, Container]:
        """Running containers by `pod/container`; two of one name fail the test."""
        pods = {sandbox.id: sandbox.config.name for sandbox in self.pods.sandboxes()}
        found: dict[str, Container] = {}
        for each in self.pods.containers(state="running"):
            name = f"{pods.get(each.sandbox_id, '?')}/{each.config.name}"
            assert name not in found, f"{name} runs twice"
            found[name] = each
        return found

    def until(self, condition: Callable[[], object], limit: float = 30) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not in time; now: {status(self.node, self.config)}\n{self.log()}")
            time.sleep(0.05)

    def supervisor(self) -> int:
        return asyncio.run(start.running(self.node))

    def kill_supervisor(self) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.supervisor()
        assert pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            handle = os.pidfd_open(pid)
            os.close(handle)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        self.until(lambda: not os.path.exists(f"/proc/{pid}"))

    def start_supervisor(self) -> int:
        return asyncio.run(start.ensure_running(self.node))

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError), open(self.node.in_state("supervise.log")) as stream:
            return stream.read()
        return ""


@contextlib.contextmanager
def playing(config: str = "") -> Iterator[Playing]:
    with temporary_node(config=config) as node:
        played = Playing(node)
        try:
            yield played
        finally:
            print(played.log())
            with contextlib.suppress(Exception):
                asyncio.run(play_down(node, everything=True, volumes=True, wait=60))
            asyncio.run(start.stop(node))
            played.pods.close()


def pod(name: str = "web", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": list(containers or [container()]),
            **spec,
        },
    }


def container(name: str = "app", script: str = CALM, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "image": "busybox",
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        **more,
    }


def deployment(name: str, replicas: int, *containers: dict[str, Any]) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod(name, *containers)["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
