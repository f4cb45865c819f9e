"""A second runtime beside the default one: a pod of that handler has it for everything (runtime classes)."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.cri.proto import cri_pb2 as pb
from tests.cri.requests import box, create, ended, execute, pod_status, refused, remove, run, start, started
from tests.cri.requests import status as status_of
from tests.cri.test_containers import INVALID
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host


@pytest.fixture
def running() -> Iterator[Daemon]:
    with temporary_node(config='[runtime]\nhandlers = ["other=runc"]\n') as node, daemon(node) as made:
        yield made


def test_a_pod_of_another_runtime_lives_as_any(running: Daemon) -> None:
    with Client(running.socket) as client:
        sandbox = run(client, runtime_handler="other")
        assert pod_status(client, sandbox).runtime_handler == "other"
        identifier = started(client, sandbox)
        assert os.path.isdir(running.node.in_state("runtime", "handler-other", identifier))
        assert execute(client, identifier, "echo out; exit 4").exit_code == 4
        limit = pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20)
        client.UpdateContainerResources(
            pb.UpdateContainerResourcesRequest(container_id=identifier, linux=limit)
        )
        stats = client.ContainerStats(pb.ContainerStatsRequest(container_id=identifier)).stats
        assert 0 < stats.memory.available_bytes.value < 64 << 20
        wrong = create(client, sandbox, box(name="wrong", command=["/no/such/program"]))
        with refused(INVALID, "/no/such/program"):
            start(client, wrong)
        assert status_of(client, wrong).reason == "StartError"
        running.stop()
        Path(running.node.config).write_text("")  # what was made with it stays with it
        running.start()
        assert execute(client, identifier, "true").exit_code == 0
        client.StopContainer(pb.StopContainerRequest(container_id=identifier, timeout=0))
        assert ended(client, identifier).exit_code == 137
        remove(client, sandbox)


def test_a_terminal_is_that_of_the_containers_own_runtime(running: Daemon) -> None:
    """crun gives a terminal away and waits for the process, runc does either: the default is not asked."""
    with Client(running.socket) as client:
        sandbox = run(client, runtime_handler="other")
        identifier = started(client, sandbox)
        ours, theirs = pty.openpty()
        where = ["--root", running.node.root, "--state", running.node.state, "--config", running.node.config]
        argv = [sys.executable, "-m", "orlop", *where, "exec", "-t", identifier, "sh", "-c", "tty; exit 3"]
        done = subprocess.run(argv, stdin=theirs, stdout=theirs, stderr=theirs, timeout=60, check=False)
        said = os.read(ours, 4096)
        os.close(theirs)
        os.close(ours)
        assert (done.returncode, said.startswith(b"/dev/pts/")) == (3, True), said
        remove(client, sandbox)
