"""The one-off run: quick, attached or not, and gone afterwards where that is asked for."""

from __future__ import annotations

import pytest

from orlop.kit.errors import Conflict, NotFound
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.exec_container import exec_sync
from orlop.pod.recover import recover
from orlop.pod.run import run_once
from tests.pod.make import eventually, output, pod, shell, sleeper
from tests.support.node import left_of_pods, opened

pytestmark = pytest.mark.host


def test_a_run_streams_from_the_first_line_and_tells_its_end(pods: Pods) -> None:
    running = run_once(pods, pod("once"), shell("echo out; echo err >&2; exit 5"), attached=True)
    assert running.session is not None
    ended = running.wait(20)
    assert (ended.state, ended.exit_code) == ("exited", 5)
    assert sorted(output(ended).splitlines()) == ["err", "out"]
    assert pods.sandbox("once").state == "ready"
    running.remove()
    assert (pods.sandboxes(), pods.containers()) == ([], [])


def test_the_network_is_there_before_the_first_instruction(pods: Pods) -> None:
    running = run_once(
        pods, pod("n", network="pod"), shell("ip addr show eth0; cat /etc/hosts"), attached=False
    )
    said = output(running.wait(20))
    (address,) = pods.sandbox("n").addresses.ips
    assert f"inet {address}/" in said
    assert f"{address}\tn\n" in said


def test_a_name_that_is_taken_is_refused(pods: Pods) -> None:
    run_once(pods, pod("taken"), sleeper(), attached=False)
    with pytest.raises(Conflict, match="there is one of that name"):
        run_once(pods, pod("taken"), sleeper(), attached=False)
    assert len(pods.sandboxes()) == 1


def test_what_cannot_start_leaves_nothing(node: Node, pods: Pods) -> None:
    with pytest.raises(Exception, match="no-such"):
        run_once(pods, pod("bad", network="pod"), shell("", command=("/no-such",)), attached=True)
    assert pods.sandboxes() == []
    assert pods.network.pending() == []
    assert left_of_pods(node) == []


def test_detached_and_to_be_removed_it_goes_by_itself(node: Node, pods: Pods) -> None:
    running = run_once(pods, pod("brief"), shell("sleep 0.3", remove=True), attached=False)
    assert pods.container(running.container_id).state == "running"
    eventually(lambda: pods.records.rows("sandboxes") == [], 20)
    assert pods.records.rows("containers") == []


def test_what_its_owner_forgot_is_removed_by_the_next_command(node: Node, pods: Pods) -> None:
    running = run_once(pods, pod("left"), shell("sleep 0.3", remove=True), attached=True)
    with opened(node) as other:
        recover(other)
        assert other.container(running.container_id).state == "running"
    running.wait(20)
    with opened(node) as other:
        assert other.container(running.container_id).state == "exited"  # its owner lives
    running.release()
    with opened(node) as other, pytest.raises(NotFound):
        other.container(running.container_id)


def test_a_second_container_keeps_the_pod(pods: Pods) -> None:
    from orlop.pod.create_container import create_container

    running = run_once(pods, pod("two"), sleeper(remove=True), attached=True)
    other = create_container(pods, running.sandbox_id, sleeper("other"))
    running.remove()
    assert pods.sandbox("two").state == "ready"
    assert pods.container("two").id == other.id


def test_exec_has_the_containers_environment_unless_told_otherwise(pods: Pods) -> None:
    running = run_once(pods, pod("e"), sleeper(env=(("A", "1"),), working_dir="/tmp"), attached=False)
    said = exec_sync(pods, running.container_id, ("sh", "-c", "echo $A $B $HOME; pwd"), env=(("B", "2"),))
    assert said.stdout == b"1 2 /root\n/tmp\n"
    assert exec_sync(pods, "e", ("cat",), stdin=b"fed").stdout == b"fed"
    assert exec_sync(pods, "e", ("sh", "-c", "exit 9")).exit_code == 9
    assert exec_sync(pods, "e", ("sleep", "100"), timeout=0.5).timed_out
