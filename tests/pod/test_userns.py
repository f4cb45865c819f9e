"""Pods in user namespaces: whose namespaces, files and mounts theirs are, and that nothing of them stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orlop.pod.context import Pods
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import SandboxConfig
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.wait_container import wait_container
from orlop.runtime.model import IDMapping
from tests.pod.make import output, pod, shell, sleeper, started

pytestmark = pytest.mark.host
BASE = 0x20000
USERS = (IDMapping(BASE, 0, 65536),)


def mapped(**changes: object) -> SandboxConfig:
    return replace(pod(), uid_mappings=USERS, gid_mappings=USERS, **changes)


def said(pods: Pods, script: str, sandbox: SandboxConfig | None = None, **changes: object) -> str:
    """What a line of shell writes in a container of a pod in a user namespace."""
    made = run_sandbox(pods, sandbox or mapped())
    container = started(pods, shell(script, **changes), made)
    ended = wait_container(pods, container.id, 20)
    assert ended.exit_code == 0, output(ended)
    return output(ended)


def test_root_in_the_pod_is_nobody_on_the_machine(pods: Pods) -> None:
    container = started(pods, sleeper(), run_sandbox(pods, mapped()))
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert f"Uid:\t{BASE}\t{BASE}" in status
    assert exec_sync(pods, container.id, ("id", "-u")).stdout == b"0\n"
    inside = exec_sync(pods, container.id, ("cat", "/proc/self/uid_map")).stdout.split()
    assert inside == [b"0", str(BASE).encode(), b"65536"]
