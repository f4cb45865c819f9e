"""What the crash tests kill: the life of a pod, in a process of its own.

python -m tests.pod.workload ROOT STATE CONFIG MODE NAME
"""

from __future__ import annotations

import os
import sys

from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.model import SandboxConfig
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run import run_once
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stop_sandbox import stop_sandbox
from tests.pod.make import shell, sleeper


def main(root: str, state: str, config: str, mode: str, name: str) -> None:
    """Say `go` when the imports are done, then make a pod and take it away as `mode` says."""
    node = Node(root, state, config)
    pods = Pods(node, Config.load(node))
    asked = sandbox_config(name, network="pod" if mode.endswith("net") else "none", init="init" in mode)
    os.write(1, b"go\n")
    if mode.startswith("once"):
        running = run_once(pods, asked, shell("echo hi", remove=True), attached=True)
        running.wait(30)
        running.remove()
        return
    if mode == "join":  # both begin when they are told
        os.read(0, 1)
    sandbox = run_sandbox(pods, asked)
    container = create_container(pods, sandbox.id, sleeper())
    start_container(pods, container.id)
    if mode == "join":
        os.write(1, f"{sandbox.id} {container.id}\n".encode())
        return
    os.write(1, b"started\n")
    stop_sandbox(pods, sandbox.id, 5)
    remove_sandbox(pods, sandbox.id)


def sandbox_config(name: str, *, network: str, init: bool) -> SandboxConfig:
    """The same for the same name, so that it can be asked for again."""
    return SandboxConfig(name, f"uid-{name}", network=network, shared_pid=init)


if __name__ == "__main__":
    main(*sys.argv[1:])
