"""Looking at containers while they run: logs, numbers, streams; and changing their limits."""

from __future__ import annotations

import os
import threading

import pytest

from orlop.kit.errors import Conflict
from orlop.kit.node import Node
from orlop.pod.attach import attach
from orlop.pod.context import Pods
from orlop.pod.exec_container import exec_attached
from orlop.pod.logs import logs
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.stats import container_stats, sandbox_stats, traffic
from orlop.pod.stop_container import stop_container
from orlop.pod.update_container import update_container
from orlop.pod.wait_container import wait_container
from orlop.runtime.model import Resources
from tests.pod.make import eventually, pod, shell, sleeper, started
from tests.support.node import opened

pytestmark = pytest.mark.host

MIB = 1024 * 1024


def test_logs_are_read_whole_from_the_end_or_followed_until_the_end(pods: Pods) -> None:
    container = started(pods, shell("for i in 1 2 3; do echo line $i; sleep 0.2; done; echo bad >&2"))
    followed = [(record.stream, record.data) for record in logs(pods, container.id, follow=True)]
    assert [data.strip() for _, data in followed] == [b"line 1", b"line 2", b"line 3", b"bad"]
    assert followed[-1][0] == "stderr"
    assert len(list(logs(pods, container.id, tail=2))) == 2
    assert pods.container(container.id).state == "exited"


def test_what_it_uses_is_measured_for_the_container_and_its_pod(pods: Pods) -> None:
    script = (
        "dd if=/dev/zero of=/big bs=1M count=8; dd if=/dev/zero of=/dev/null bs=1M count=2000; sleep 1000"
    )
    sandbox = run_sandbox(pods, pod())
    container = started(pods, shell(script), sandbox)
    eventually(lambda: container_stats(pods, container).usage.cpu > 1_000_000)
    eventually(lambda: container_stats(pods, container).disk_bytes >= 8 * MIB)
    whole = sandbox_stats(pods, sandbox.id)
    assert whole.usage.memory > 0
    assert whole.disk_bytes >= 8 * MIB


def test_traffic_is_counted_loopback_aside(pods: Pods) -> None:
    gateway = "$(route -n | awk '/^0.0.0.0/ {print $2}')"
    talker = shell(f"while :; do ping -c 1 -w 1 {gateway}; sleep 0.1; done")
    talking = started(pods, talker, run_sandbox(pods, pod(network="pod")))
    alone = started(pods, shell("while :; do ping -c 1 127.0.0.1; sleep 0.1; done"))
    eventually(lambda: min(traffic(talking.pid)) > 100)
    stats = container_stats(pods, talking)
    assert min(stats.received, stats.sent) > 100
    assert traffic(alone.pid) == traffic(0) == (0, 0)


def test_limits_change_while_it_runs_and_are_remembered(node: Node, pods: Pods) -> None:
    container = started(pods, sleeper(resources=Resources(memory_limit=64 * MIB, cpu_limit=500)))
    update_container(pods, container.id, Resources(memory_limit=128 * MIB))
    assert container_stats(pods, container).usage.memory_limit == 128 * MIB
    with opened(node) as other:
        kept = other.container(container.id).config.resources
    assert (kept.memory_limit, kept.cpu_limit) == (128 * MIB, 500)
    stop_container(pods, container.id, 1)
    with pytest.raises(Conflict):
        update_container(pods, container.id, Resources(memory_limit=64 * MIB))


def test_a_session_hears_the_container_and_speaks_to_it(pods: Pods) -> None:
    config = shell("while read line; do echo got $line; done", stdin=True, stdin_once=True)
    container = started(pods, config)
    with attach(pods, container.id) as session:
        session.send(b"one\n")
        assert session.receive() == (1, b"got one\n")
        session.close_input()
        assert wait_container(pods, container.id, 20).exit_code == 0
    with pytest.raises(Conflict, match="does not run"):
        attach(pods, container.id)


def test_an_attached_exec_has_the_callers_streams(pods: Pods) -> None:
    container = started(pods, sleeper())
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    code: list[int] = []

    def run() -> None:
        code.append(
            exec_attached(
                pods, container.id, ("sh", "-c", "echo hi; exit 3"), stdin=null, stdout=writing, stderr=null
            )
        )

    thread = threading.Thread(target=run)
    thread.start()
    assert os.read(reading, 100) == b"hi\n"
    thread.join()
    assert code == [3]
    for descriptor in (reading, writing, null):
        os.close(descriptor)
