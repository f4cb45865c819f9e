"""Killed at any moment: containers are found as they are, and whatever is half-done is finished."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.recover import recover
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.pod.wait_container import wait_container
from tests.pod.make import eventually, pod, shell, sleeper, started
from tests.pod.workload import sandbox_config
from tests.support.node import left_of_pods, opened, temporary_node

pytestmark = pytest.mark.host

MODES = ("life", "life-init", "life-net", "once", "once-net")
KILLS = 12

#: A CNI plugin whose DEL fails while a certain file is there.
FRAGILE = """#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD) echo '{"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.9/24"}]}' ;;
DEL) if [ -e BROKEN ]; then echo '{"code": 99, "msg": "no"}'; exit 1; fi ;;
esac
"""


def launched(node: Node, mode: str, name: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.pod.workload", node.root, node.state, node.config, mode, name]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)


def timed(node: Node, mode: str) -> float:
    """How long the whole life takes after its imports."""
    child = launched(node, mode, f"timing-{mode}")
    assert child.stdout is not None
    assert child.stdout.readline() == b"go\n"
    begin = time.monotonic()
    child.stdout.read()
    assert child.wait() == 0
    return time.monotonic() - begin


@pytest.mark.parametrize("mode", MODES)
def test_a_kill_at_any_moment_leaves_nothing_that_recovery_does_not_finish(node: Node, mode: str) -> None:
    whole = timed(node, mode)
    chance = random.Random(mode)
    for number in range(KILLS):
        moment = whole * (number + chance.random()) / KILLS
        child = launched(node, mode, f"p{number}")
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(moment)
        child.kill()
        child.wait()
        child.stdout.close()
        with opened(node) as pods:
            report = recover(pods)
            assert report.failures == (), f"killed after {moment:.4f} s"
            for container in pods.containers(state="running"):
                alive = os.path.exists(f"/proc/{container.pid}")  # a stop may be under way
                assert alive or pods.container(container.id).state == "exited"
            again = sandbox_config(
                f"p{number}", network="pod" if mode.endswith("net") else "none", init="init" in mode
            )
            remains = pods.find_sandbox(again.name)
            if remains is not None:
                remove_sandbox(pods, remains["id"])
            sandbox = run_sandbox(pods, again)
            container = start_container(pods, create_container(pods, sandbox.id, shell("exit 4")).id)
            assert wait_container(pods, container.id, 20).exit_code == 4
            remove_sandbox(pods, sandbox.id)
            assert pods.sandboxes() == []
            eventually(lambda: not left_of_pods(node))
            for folder in ("namespaces", "pods", "bundles"):
                assert not os.path.exists(node.in_state(folder)) or os.listdir(node.in_state(folder)) == []
            assert pods.store.rootfs_list() == []


def test_containers_survive_the_process_that_made_them(node: Node) -> None:
    child = launched(node, "life", "survivor")
    assert child.stdout is not None
    assert child.stdout.readline() == b"go\n"
    assert child.stdout.readline() == b"started\n"
    child.kill()
    child.wait()
    child.stdout.close()
    with opened(node) as pods:
        recover(pods)
        (container,) = pods.containers()
        assert container.state in ("running", "exited")  # its stop may have been sent already


def test_two_processes_that_ask_for_the_same_pod_get_the_same(node: Node) -> None:
    argv = [sys.executable, "-m", "tests.pod.workload", node.root, node.state, node.config, "join", "same"]
    children = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write(b"x")
        child.stdin.flush()
    said = {child.communicate(timeout=60)[0] for child in children}
    assert len(said) == 1
    assert len(said.pop().split()) == 2


def test_an_end_that_nobody_watched_is_known_afterwards(node: Node) -> None:
    with opened(node) as pods:
        container = started(pods, shell("sleep 0.3; exit 6"))
    time.sleep(0.8)
    with opened(node) as pods:
        found = pods.container(container.id)
        assert (found.state, found.exit_code, found.reason) == ("exited", 6, "Error")


def test_a_container_whose_monitor_was_killed_is_seen_until_its_end_which_is_lost(pods: Pods) -> None:
    container = started(pods, shell("sleep 0.7"))
    conmon = pods.engine.conmon_pid(container.id)
    assert conmon
    os.kill(conmon, signal.SIGKILL)
    assert pods.container(container.id).state == "running"
    eventually(lambda: pods.container(container.id).state == "exited")
    assert (pods.container(container.id).exit_code, pods.container(container.id).reason) == (255, "Lost")


def test_recovery_touches_nothing_that_lives(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(network="pod"))
    container = started(pods, sleeper(), sandbox)
    with opened(node) as other:
        report = recover(other)
    assert (report.containers, report.sandboxes, report.orphans, report.failures) == ((), (), (), ())
    assert pods.container(container.id).state == "running"
    pods.network.check(sandbox.id)


def test_things_without_a_record_are_taken_away(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(network="pod", shared_pid=True))
    container = started(pods, sleeper(), sandbox)
    with pods.records.database.transaction() as connection:
        connection.execute("DELETE FROM containers")
        connection.execute("DELETE FROM sandboxes")
    report = recover(pods)
    assert set(report.orphans) >= {sandbox.id, container.id}
    assert report.failures == ()
    assert not os.path.exists(f"/proc/{container.pid}")
    eventually(lambda: not left_of_pods(node))
    assert pods.network.pending() == []


def test_a_removal_that_died_is_finished_when_the_records_are_opened(node: Node, pods: Pods) -> None:
    for stopped in (False, True):
        sandbox = run_sandbox(pods, pod())
        started(pods, sleeper(), sandbox)
        if stopped:
            stop_sandbox(pods, sandbox.id, 1)
        pods.records.update("sandboxes", sandbox.id, state="removing")
        with opened(node) as other:
            assert other.records.rows("sandboxes") == []
            assert other.records.rows("containers") == []


def test_after_a_reboot_pods_are_not_ready_and_their_containers_lost(
    node: Node, pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = run_sandbox(pods, pod("rebooted", network="pod"))
    ran = started(pods, sleeper("ran"), sandbox)
    ended = started(pods, shell("echo kept > /kept; exit 3", "ended"), sandbox)
    wait_container(pods, ended.id, 20)
    reboot(pods, [ran.pid])
    monkeypatch.setattr("orlop.kit.node.boot_id", lambda: "the next boot")
    with opened(node) as after:
        assert after.sandbox("rebooted").state == "notready"
        lost = after.container(ran.id)
        assert (lost.state, lost.exit_code, lost.reason) == ("exited", 255, "Lost")
        kept = after.container(ended.id)
        assert (kept.state, kept.exit_code, kept.reason) == ("exited", 3, "Error")
        assert after.network.pending() == []
        merged = after.store.mount_rootfs(ended.id)
        with open(f"{merged}/kept", encoding="utf-8") as stream:
            assert stream.read() == "kept\n"
        remove_sandbox(after, sandbox.id)
        fresh = run_sandbox(after, pod("rebooted", network="pod"))
        assert after.container(started(after, sleeper(), fresh).id).state == "running"
        remove_sandbox(after, fresh.id)


def reboot(pods: Pods, pids: list[int]) -> None:
    """Do to the node what a power cut does: no processes, no mounts, an empty state folder."""
    import shutil

    from orlop.kit import kernel
    from tests.support.node import mounts_below, processes

    for pid in [*pids, *(pid for pid, _ in processes(pods.node))]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    eventually(lambda: not any(os.path.exists(f"/proc/{pid}/root") for pid in pids))
    for point in mounts_below(pods.node):
        kernel.umount(point, kernel.MNT_DETACH)
    shutil.rmtree(pods.node.state)


def test_a_network_that_cannot_be_left_keeps_no_pod_and_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    plugins, lists = tmp_path / "plugins", tmp_path / "net.d"
    plugins.mkdir()
    lists.mkdir()
    plugin = plugins / "fragile"
    plugin.write_text(FRAGILE.replace("BROKEN", str(broken)))
    plugin.chmod(0o755)
    (lists / "a.conflist").write_text(
        '{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "fragile"}]}'
    )
    config = f'[network]\nplugin_dirs = ["{plugins}"]\nconfig_dir = "{lists}"\n'
    with temporary_node(config=config) as node:
        with opened(node) as pods:
            sandbox = run_sandbox(pods, pod("stuck", network="pod"))
            assert sandbox.addresses.ips == ("192.0.2.9",)
            broken.touch()
            remove_sandbox(pods, sandbox.id)
            assert pods.sandboxes() == []
            assert len(pods.network.pending()) == 1
        broken.unlink()
        with opened(node) as pods:  # too soon
            assert len(pods.network.pending()) == 1
        later = time.time() + 60
        monkeypatch.setattr(Pods, "now", lambda _: later)
        with opened(node) as pods:
            assert pods.network.pending() == []
        monkeypatch.undo()
