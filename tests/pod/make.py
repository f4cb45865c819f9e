"""Short ways to say what the tests of this package want."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orlop.kit.files import unique
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.model import Container, ContainerConfig, Sandbox, SandboxConfig
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container

SLEEP = ("sleep", "1000")


def pod(name: str = "", **changes: Any) -> SandboxConfig:
    """A pod without a network of its own unless `network` says so."""
    values: dict[str, Any] = {"network": "none", **changes}
    return SandboxConfig(name or f"p-{unique()[:6]}", unique(), **values)


def shell(script: str, name: str = "main", **changes: Any) -> ContainerConfig:
    """A container that runs a line of shell."""
    return replace(ContainerConfig(name, "busybox", command=("sh", "-c", script)), **changes)


def sleeper(name: str = "main", **changes: Any) -> ContainerConfig:
    """A container that ends at SIGTERM and at nothing else."""
    return shell("trap 'exit 7' TERM; while :; do sleep 1000 & wait $!; done", name, **changes)


def started(pods: Pods, config: ContainerConfig, sandbox: Sandbox | None = None) -> Container:
    """A running container, in a pod of its own unless one is given."""
    sandbox = sandbox or run_sandbox(pods, pod())
    return start_container(pods, create_container(pods, sandbox.id, config).id)


def listening(container: Container, number: int = signal.SIGTERM) -> bool:
    """Whether a `sleeper`, or another shell, has come to its trap: a signal before that is lost."""
    with open(f"/proc/{container.pid}/status", encoding="ascii") as stream:
        caught = next(line.split()[1] for line in stream if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def output(container: Container) -> str:
    """What a container wrote so far, streams together, without the log's decoration."""
    lines = Path(container.log_path).read_text().splitlines()
    return "".join(line.split(" ", 3)[3] + "\n" for line in lines)


def eventually(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `holds` is true; fail where it never is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
