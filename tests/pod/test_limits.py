"""Limits and where they lie: cgroup parents, raw limits, updates of containers and pods, runtime handlers."""

from __future__ import annotations

import glob
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.errors import Conflict, InvalidInput
from orlop.kit.files import unique
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.recover import recover
from orlop.pod.remove_container import remove_container
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.reopen_log import reopen_log
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stats import container_stats, sandbox_stats
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.pod.update_container import update_container
from orlop.pod.update_sandbox import update_sandbox
from orlop.pod.wait_container import wait_container
from orlop.runtime.cgroups.port import Cgroups
from orlop.runtime.model import Resources
from tests.pod.make import eventually, output, pod, shell, sleeper, started
from tests.support.node import opened, temporary_node

pytestmark = pytest.mark.host

MIB = 1024 * 1024


@pytest.fixture
def parent() -> Iterator[str]:
    """A pod's group as a kubelet makes it, with a process of somebody else's beside."""
    cgroups, top = Cgroups.for_machine(), f"/orlop-kube-{unique()[:6]}"
    path = f"{top}/besteffort/pod{unique()}"
    cgroups.create(path, Resources(memory_limit=256 * MIB))
    yield path
    cgroups.kill(top)
    cgroups.remove(top)


def test_a_pod_lies_in_the_parent_that_is_asked_for_and_leaves_it_alone(pods: Pods, parent: str) -> None:
    cgroups = pods.engine.cgroups
    sandbox = run_sandbox(pods, pod(cgroup_parent=parent, shared_pid=True, resources=Resources(pids=5)))
    container = started(pods, sleeper(), sandbox)
    assert pods.cgroup(sandbox.id, container.id) == f"{parent}/{container.id}"
    assert cgroups.children(parent) == sorted([container.id, sandbox.id])
    assert container.pid in cgroups.pids(f"{parent}/{container.id}")
    assert cgroups.children(pods.own_group) == []
    eventually(lambda: container_stats(pods, container).usage.pids > 1)  # the trap stands
    assert sandbox_stats(pods, sandbox).usage.memory_limit == 256 * MIB  # and no limit of ours
    assert sandbox_stats(pods, sandbox).usage.pids_limit == 0
    stop_sandbox(pods, sandbox.id, 1)
    assert pods.container(container.id).exit_code == 7
    remove_sandbox(pods, sandbox.id)
    assert cgroups.children(parent) == []
    assert os.path.isdir(f"{cgroups.trees()[0]}{parent}")


def test_lack_of_memory_below_a_parent_is_seen_and_everything_in_it_is_killed(
    pods: Pods, parent: str
) -> None:
    sandbox = run_sandbox(pods, pod(cgroup_parent=parent))
    eater = started(
        pods, shell("tail /dev/zero", "eater", resources=Resources(memory_limit=16 * MIB)), sandbox
    )
    assert wait_container(pods, eater.id, 30).reason == "OOMKilled"
    stubborn = started(pods, shell("trap '' TERM; sleep 1000 & while :; do sleep 1; done", "stay"), sandbox)
    stop_container(pods, stubborn.id, 0.2)
    assert pods.engine.cgroups.pids(f"{parent}/{stubborn.id}") == []


def test_what_a_crash_left_below_a_parent_is_found_by_its_bundle(node: Node, pods: Pods, parent: str) -> None:
    sandbox = run_sandbox(pods, pod(cgroup_parent=parent))
    container = started(pods, sleeper(), sandbox)
    pods.records.delete("containers", container.id)
    pods.records.delete("sandboxes", sandbox.id)
    with opened(node) as later:
        assert container.id in recover(later).orphans
    assert pods.engine.cgroups.children(parent) == []
    assert os.path.isdir(f"{pods.engine.cgroups.trees()[0]}{parent}")


def test_a_kubelet_may_remove_the_parent_before_the_containers_of_it(pods: Pods, parent: str) -> None:
    sandbox = run_sandbox(pods, pod(cgroup_parent=parent))
    container = started(pods, sleeper(), sandbox)
    stop_sandbox(pods, sandbox.id, 0)
    pods.engine.cgroups.remove(parent)
    assert container_stats(pods, pods.container(container.id)).usage.memory == 0
    assert sandbox_stats(pods, sandbox).usage.memory == 0
    remove_container(pods, container.id)
    remove_sandbox(pods, sandbox.id)
    assert not os.path.exists(f"{pods.engine.cgroups.trees()[0]}{parent}")


@pytest.mark.parametrize("bad", ["kubepods-podX.slice", "/a/../b", "/a//b", "/", "/kubepods.slice/x.slice"])
def test_a_parent_that_cannot_be_is_refused_before_anything_is_recorded(pods: Pods, bad: str) -> None:
    with pytest.raises(InvalidInput, match="cgroup parent"):
        run_sandbox(pods, pod(cgroup_parent=bad))
    assert pods.sandboxes() == []


def test_raw_limits_of_the_cri_reach_the_kernel(pods: Pods) -> None:
    asked = Resources(
        cpu_shares=300,
        cpu_quota=20_000,
        cpu_period=50_000,
        cpuset_cpus="0",
        cpuset_mems="0",
        memory_limit=64 * MIB,
        memory_swap=96 * MIB,
        hugepages={"2MB": 0},
        unified={"memory.high": str(60 * MIB)},
        pids=50,
    )
    container = started(pods, sleeper(resources=asked))
    cgroups = pods.engine.cgroups
    path = pods.cgroup(container.sandbox_id, container.id)
    usage = container_stats(pods, container).usage
    assert (usage.memory_limit, usage.pids_limit) == (64 * MIB, 50)
    assert usage.swap_limit == (32 * MIB if cgroups.swap else None)
    assert cpu_limits(cgroups, path) == (20_000, 50_000)
    changed = update_container(pods, container.id, Resources(cpu_quota=-1, cpu_shares=100, memory_limit=-1))
    assert cpu_limits(cgroups, path)[0] == -1
    assert container_stats(pods, container).usage.memory_limit == 0
    kept = changed.config.resources
    assert (kept.cpu_quota, kept.cpu_shares, kept.memory_limit, kept.pids) == (-1, 100, -1, 50)


def test_limits_of_a_created_container_hold_when_it_starts(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    container = create_container(pods, sandbox.id, sleeper(resources=Resources(memory_limit=64 * MIB)))
    update_container(pods, container.id, Resources(memory_limit=96 * MIB, cpu_quota=30_000, oom_score_adj=5))
    container = start_container(pods, container.id)
    assert container_stats(pods, container).usage.memory_limit == 96 * MIB
    assert cpu_limits(pods.engine.cgroups, pods.cgroup(sandbox.id, container.id)) == (30_000, 100_000)
    assert container.config.resources.oom_score_adj is None  # its processes keep what they have


def test_memory_that_is_in_use_cannot_be_taken_away(pods: Pods) -> None:
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=30; echo ready; sleep 1000"
    container = started(pods, shell(script, resources=Resources(memory_limit=128 * MIB)))
    eventually(lambda: "ready" in output(container))
    with pytest.raises(Conflict, match=r"uses .* bytes of memory"):
        update_container(pods, container.id, Resources(memory_limit=8 * MIB))
    assert pods.container(container.id).state == "running"
    assert pods.container(container.id).config.resources.memory_limit == 128 * MIB
    assert container_stats(pods, container).usage.memory_limit == 128 * MIB


def test_a_pods_own_group_is_limited_as_a_whole_and_remembered(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(resources=Resources(memory_limit=128 * MIB)))
    started(pods, sleeper(), sandbox)
    update_sandbox(pods, sandbox.id, Resources(memory_limit=256 * MIB, pids=100), Resources(memory_limit=MIB))
    usage = sandbox_stats(pods, sandbox).usage
    assert (usage.memory_limit, usage.pids_limit) == (256 * MIB, 100)
    update_sandbox(pods, sandbox.id, Resources(memory_limit=64 * MIB), Resources())
    assert sandbox_stats(pods, sandbox).usage.memory_limit == 64 * MIB
    with opened(node) as other:
        kept = other.sandbox(sandbox.id).config
    assert (kept.resources.memory_limit, kept.resources.pids) == (64 * MIB, 100)
    assert kept.overhead.memory_limit == MIB
    stop_sandbox(pods, sandbox.id, 1)
    with pytest.raises(Conflict, match="not ready"):
        update_sandbox(pods, sandbox.id, Resources(pids=7), Resources())


def test_a_parents_limits_are_not_ours_to_change(pods: Pods, parent: str) -> None:
    sandbox = run_sandbox(pods, pod(cgroup_parent=parent))
    update_sandbox(pods, sandbox.id, Resources(memory_limit=64 * MIB), Resources())
    assert sandbox_stats(pods, sandbox).usage.memory_limit == 256 * MIB
    assert pods.sandbox(sandbox.id).config.resources.memory_limit == 64 * MIB


def test_interfaces_are_told_by_name_also_before_anything_runs(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(network="pod"))
    assert [link.name for link in sandbox_stats(pods, sandbox).interfaces] == ["eth0"]
    started(pods, shell("ping -c 3 -w 3 $(route -n | awk '/^0.0.0.0/ {print $2}'); sleep 1000"), sandbox)
    eventually(lambda: sandbox_stats(pods, sandbox).interfaces[0].sent_packets > 2)
    stats = sandbox_stats(pods, sandbox)
    assert stats.interfaces[0].received == stats.received > 0
    assert len(stats.containers) == 1
    stop_sandbox(pods, sandbox.id, 0)
    assert sandbox_stats(pods, sandbox).interfaces == ()


def test_the_walk_through_a_disk_is_as_old_as_allowed(pods: Pods) -> None:
    container = started(pods, sleeper())
    first = container_stats(pods, container, disk_age=600)
    exec_sync(pods, container.id, ("dd", "if=/dev/zero", "of=/big", "bs=1M", "count=2"))
    assert container_stats(pods, container, disk_age=600).disk_bytes == first.disk_bytes
    now = container_stats(pods, container)
    assert now.disk_bytes >= first.disk_bytes + 2 * MIB
    assert now.disk_time > first.disk_time


def test_a_pod_may_ask_for_another_runtime_and_keeps_it(tmp_path: Path) -> None:
    other = tmp_path / "runc"
    os.symlink(shutil.which("runc") or "runc", other)
    with temporary_node(config=f'[runtime]\nhandlers = ["heavy={other}"]\n') as node:
        with opened(node) as pods:
            assert pods.engine.features_of("heavy").name == "runc"
            assert pods.engine.features_of("crun").name == pods.engine.features.name == "crun"
            with pytest.raises(InvalidInput, match=r"handler 'none'.*"):
                run_sandbox(pods, pod(handler="none"))
            sandbox = run_sandbox(pods, pod(handler="heavy", shared_pid=True))
            heavy = started(pods, sleeper(), sandbox)
            plain = started(pods, sleeper())
            eventually(lambda: container_stats(pods, heavy).usage.pids > 1)  # the trap stands
        Path(node.config).write_text("")  # the handler is gone, what was made with it is not
        with opened(node) as later:
            assert os.path.exists(node.in_state("runtime", "handler-heavy", heavy.id))
            assert os.path.exists(node.in_state("runtime", "crun", plain.id))
            assert exec_sync(later, heavy.id, ("echo", "hi")).stdout == b"hi\n"
            update_container(later, heavy.id, Resources(memory_limit=96 * MIB))
            stop_container(later, heavy.id, 5)
            assert later.container(heavy.id).exit_code == 7
            remove_container(later, heavy.id)
            remove_sandbox(later, sandbox.id)
        assert os.listdir(node.in_state("runtime", "handler-heavy")) == []


def test_no_line_is_lost_when_a_log_is_moved_and_reopened_under_load(pods: Pods) -> None:
    count = 30_000
    script = f"i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo line $i; done; echo end; sleep 1000"
    container = started(pods, shell(script))
    path = container.log_path
    mode = os.stat(path).st_mode
    moved = 0
    while "end\n" not in Path(path).read_text()[-200:]:
        moved += 1
        os.rename(path, f"{path}.{moved:04d}")
        reopen_log(pods, container.id)
        assert os.stat(path).st_mode == mode
        time.sleep(0.005)
    assert moved > 3
    text = ""
    for name in [*sorted(glob.glob(f"{path}.*")), path]:
        for line in Path(name).read_text().splitlines():
            _, _, tag, said = line.split(" ", 3)
            text += said if tag == "P" else f"{said}\n"
    assert text.splitlines() == [*(f"line {number + 1}" for number in range(count)), "end"]


def test_a_log_that_nobody_moved_is_kept_and_one_that_nobody_writes_is_refused(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    container = started(pods, shell("echo before; trap 'exit 0' TERM; sleep 1000 & wait"), sandbox)
    eventually(lambda: "before" in output(container))
    reopen_log(pods, container.id)
    assert "before" in output(container)
    created = create_container(pods, sandbox.id, sleeper("second"))
    stop_container(pods, container.id, 5)
    for name in (container.id, created.id):
        with pytest.raises(Conflict, match="does not run"):
            reopen_log(pods, name)


def test_signals_reach_a_container_without_asking_the_runtime(pods: Pods) -> None:
    container = started(pods, shell("trap 'echo got; exit 9' USR1; while :; do sleep 0.1; done"))
    time.sleep(0.2)
    root = pods.node.in_state("runtime", "crun", container.id)
    hidden = root + ".hidden"
    os.rename(root, hidden)  # with its state away, no verb of the runtime would find it
    os.mkdir(root)
    try:
        pods.engine.kill(container.id, "SIGUSR1")
        eventually(lambda: pods.engine.exit_of(container.id))
    finally:
        os.rmdir(root)
        os.rename(hidden, root)
    assert wait_container(pods, container.id, 10).exit_code == 9


def test_many_wait_for_one_end_and_all_hear_of_it(pods: Pods) -> None:
    container = started(pods, sleeper())
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(wait_container(pods, container.id, 30).exit_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    stop_container(pods, container.id, 5)
    for thread in threads:
        thread.join()
    assert codes == [7] * 8


def cpu_limits(cgroups: Cgroups, path: str) -> tuple[int, int]:
    """Quota (-1: none) and period."""
    if cgroups.unified:
        quota, period = Path(f"{cgroups.trees()[0]}{path}/cpu.max").read_text().split()
        return (-1 if quota == "max" else int(quota)), int(period)
    folder = f"/sys/fs/cgroup/cpu{path}"
    return (
        int(Path(f"{folder}/cpu.cfs_quota_us").read_text()),
        int(Path(f"{folder}/cpu.cfs_period_us").read_text()),
    )
