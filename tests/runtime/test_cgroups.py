"""One suite for every kind of cgroup: the machine's own for real, v2 also on recorded files."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput
from orlop.runtime.cgroups.port import (
    Cgroups,
    CgroupStats,
    DeviceIO,
    Pressure,
    Pressures,
    huge_page_sizes,
)
from orlop.runtime.cgroups.prompt import PromptMoves
from orlop.runtime.cgroups.v1 import V1
from orlop.runtime.cgroups.v2 import V2, weight
from orlop.runtime.features import features, find
from orlop.runtime.model import Resources


@pytest.fixture
def real() -> Iterator[tuple[Cgroups, str]]:
    cgroups, top = Cgroups.for_machine(), f"/orlop-test-{os.urandom(4).hex()}"
    yield cgroups, top
    cgroups.kill(top)
    cgroups.remove(top)


@pytest.mark.host
def test_a_group_is_made_twice_used_and_removed_with_all_below(real: tuple[Cgroups, str]) -> None:
    cgroups, top = real
    resources = Resources(memory_limit=32 << 20, pids=20, cpu_limit=500, cpu_request=100, cpuset_cpus="0")
    for _ in range(2):
        cgroups.create(f"{top}/pod/inner", resources)
    assert cgroups.children(top) == ["pod"]
    child = subprocess.Popen(["sleep", "100"])
    for tree in cgroups.trees():
        with contextlib.suppress(OSError):
            Path(f"{tree}{top}/pod/inner/cgroup.procs").write_text(str(child.pid))
    assert cgroups.pids(top) == [child.pid]
    stats = cgroups.stats(f"{top}/pod/inner")
    assert (stats.memory_limit, stats.pids_limit, stats.pids) == (32 << 20, 20, 1)
    assert cgroups.oom_kills(f"{top}/pod") == 0
    cgroups.kill(top)
    assert child.wait() == -9
    for _ in range(2):
        cgroups.remove(top)
    assert cgroups.pids(top) == []
    assert cgroups.stats(top) == CgroupStats()
    assert not any(os.path.exists(tree + top) for tree in cgroups.trees())


@pytest.mark.host
def test_monitors_are_nobodys_pod_and_go_out_of_the_way(real: tuple[Cgroups, str]) -> None:
    cgroups, top = real
    child = subprocess.Popen(["sleep", "100"])
    cgroups.monitor(top[1:], child.pid)
    assert cgroups.children(top) == []
    assert child.pid in cgroups.pids(top)
    cgroups.remove(top)
    assert child.poll() is None
    child.kill()
    child.wait()


@pytest.mark.host
def test_limits_that_the_kernel_refuses_are_explained(real: tuple[Cgroups, str]) -> None:
    cgroups, top = real
    with pytest.raises(InvalidInput):
        cgroups.create(f"{top}/a", Resources(cpuset_cpus="4000"))


def test_one_thread_keeps_moves_prompt_for_all_who_ask() -> None:
    def writers() -> int:
        return sum(thread.name == "prompt moves" for thread in threading.enumerate())

    with PromptMoves(), PromptMoves(0.01):
        assert writers() == 1
    with PromptMoves():
        assert writers() >= 1  # the one before may be on its way out
    deadline = time.monotonic() + 10
    while writers() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert writers() == 0


@pytest.mark.parametrize("path", ["", "/", "relative", "/a/../b", "/a//b", "/a/./b"])
def test_a_path_that_is_none_is_refused(path: str, tmp_path: Path) -> None:
    for kind in (V1(str(tmp_path)), V2(str(tmp_path))):
        with pytest.raises(InvalidInput):
            kind.stats(path)


def recorded(tmp_path: Path) -> V2:
    """A v2 tree as files: what a kernel shows of one pod."""
    pod = tmp_path / "orlop/pod"
    pod.mkdir(parents=True)
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    for folder in (tmp_path, tmp_path / "orlop"):
        (folder / "cgroup.subtree_control").write_text("")
    (tmp_path / "orlop/cgroup.controllers").write_text("cpu memory pids\n")
    values = {
        "cpu.stat": "usage_usec 1500\nuser_usec 1000\nthrottled_usec 7\n",
        "memory.current": "1000000\n",
        "memory.stat": "anon 300000\ninactive_file 400000\npgfault 9\npgmajfault 2\n",
        "memory.max": "max\n",
        "memory.events": "low 0\noom 3\noom_kill 2\n",
        "memory.swap.max": "max\n",
        "pids.current": "4\n",
        "pids.max": "100\n",
        "cgroup.procs": "",
        "memory.low": "0\n",
        "cpu.max": "max 100000\n",
        "cpu.weight": "100\n",
        "cgroup.freeze": "0\n",
    }
    for name, value in values.items():
        (pod / name).write_text(value)
    return V2(str(tmp_path))


def test_v2_is_known_by_its_root_and_its_counts_are_read(tmp_path: Path) -> None:
    recorded(tmp_path)
    cgroups = Cgroups.for_machine(str(tmp_path))
    assert isinstance(cgroups, V2)
    stats = cgroups.stats("/orlop/pod")
    counted = CgroupStats(1_500_000, 1_000_000, 600_000, 300_000, 0, 4, 100, 7000, 2, 9, oom_kills=2)
    assert stats == counted
    assert cgroups.oom_kills("/orlop/pod") == 2
    assert cgroups.children("/orlop") == ["pod"]
    assert cgroups.stats("/orlop/none") == CgroupStats()


def test_v2_limits_are_written_in_its_own_terms(tmp_path: Path) -> None:
    cgroups = recorded(tmp_path)
    cgroups.create("/orlop/pod", Resources(memory_limit=1 << 20, cpu_limit=1500, cpu_request=1000, pids=5))
    read = {
        name: (tmp_path / "orlop/pod" / name).read_text() for name in ("cpu.max", "cpu.weight", "pids.max")
    }
    assert read["cpu.max"].startswith("150000 100000")
    assert read["cpu.weight"].startswith("39")
    assert read["pids.max"].startswith("5")
    assert weight(2) == 1
    assert weight(262_144) == 10_000


@pytest.mark.host
def test_features_are_asked_once_and_a_damaged_answer_is_asked_again(tmp_path: Path) -> None:
    path = find("crun")
    first = features(path, str(tmp_path))
    assert first.name == "crun"
    cached = next(tmp_path.glob("features-*"))
    before = cached.stat().st_mtime_ns
    assert features(path, str(tmp_path)) == first
    assert cached.stat().st_mtime_ns == before
    cached.write_text("{")
    assert features(path, str(tmp_path)) == first


def test_v2_tells_what_a_kubelet_and_a_monitor_want_to_know(tmp_path: Path) -> None:
    cgroups, pod = recorded(tmp_path), tmp_path / "orlop/pod"
    (pod / "memory.swap.current").write_text("4096\n")
    (pod / "memory.swap.max").write_text("8192\n")
    (pod / "memory.pressure").write_text(
        "some avg10=1.50 avg60=0.25 avg300=0.00 total=7\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=3\n"
    )
    (pod / "io.pressure").write_text("some nonsense\n")
    (pod / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n")
    plain = cgroups.stats("/orlop/pod")
    assert (plain.swap, plain.swap_limit, plain.oom_kills) == (4096, 8192, 2)
    assert plain.memory_pressure == Pressures(Pressure(1.5, 0.25, 0.0, 7000), Pressure(0.5, 0.0, 0.0, 3000))
    assert plain.cpu_pressure is None
    assert plain.io_pressure is None
    assert plain.io == ()
    detail = cgroups.stats("/orlop/pod", detail=True)
    assert detail.io == (DeviceIO(8, 0, 10, 20, 1, 2),)
    assert (detail.cpu_user, detail.processes) == (1_000_000, 0)


@pytest.mark.host
def test_the_machines_own_counts_are_read_in_detail(real: tuple[Cgroups, str]) -> None:
    cgroups, top = real
    cgroups.create(f"{top}/pod", Resources(memory_limit=32 << 20, memory_swap=64 << 20))
    child = subprocess.Popen(
        ["sh", "-c", "sleep 0.2; dd if=/dev/zero of=/dev/null bs=1M count=500; sleep 100"]
    )
    for tree in cgroups.trees():
        with contextlib.suppress(OSError):
            Path(f"{tree}{top}/pod/cgroup.procs").write_text(str(child.pid))
    deadline = time.monotonic() + 20
    while not (found := cgroups.stats(f"{top}/pod", detail=True)).cpu_system and time.monotonic() < deadline:
        time.sleep(0.05)
    cgroups.kill(top)
    child.wait()
    assert min(found.cpu, found.cpu_system, found.processes) > 0
    assert found.memory_peak > 0
    assert found.swap_limit == (32 << 20 if cgroups.swap else None)
    assert {pages.size for pages in found.hugepages} <= set(huge_page_sizes())
