"""Runs in the guest with Orlop's Python: pods in systemd's slices, our own and a kubelet's.

systemd_cgroups.py own|parent    ends with 0 where everything held, else says what did not
"""

import contextlib
import os
import subprocess
import sys
import time

from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stats import container_stats, sandbox_stats
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.pod.update_container import update_container
from orlop.pod.update_sandbox import update_sandbox
from orlop.pod.wait_container import wait_container
from orlop.runtime.model import Resources

MIB = 1 << 20
TREE = "/sys/fs/cgroup"
IMAGE = "127.0.0.1:5055/busybox:latest"
PARENT = "kubepods-besteffort-pod1234_5678.slice"
PARENT_PATH = f"/kubepods.slice/kubepods-besteffort.slice/{PARENT}"


def own(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod("own", resources=Resources(memory_limit=128 * MIB, pids=200)))
    path = pods.cgroup(sandbox.id)
    assert path.count(".slice") == 2, path
    assert read(path, "memory.max") == str(128 * MIB)
    container = start(
        pods, sandbox.id, "main", "while :; do sleep 0.1; done", Resources(memory_limit=64 * MIB)
    )
    inside = pods.cgroup(sandbox.id, container.id)
    assert inside == f"{path}/orlop-{container.id}.scope"
    assert str(container.pid) in read(inside, "cgroup.procs").split()
    assert read(inside, "memory.max") == str(64 * MIB)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert read(path, "memory.max") == str(128 * MIB), "systemd reset the pod's limit"
    usage = container_stats(pods, container).usage
    assert usage.memory_limit == 64 * MIB
    assert usage.pids > 0
    assert usage.cpu > 0
    assert usage.memory_pressure is not None
    update_container(pods, container.id, Resources(memory_limit=96 * MIB, cpu_quota=20_000))
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert read(inside, "memory.max") == str(96 * MIB)
    update_sandbox(pods, sandbox.id, Resources(memory_limit=256 * MIB), Resources())
    assert read(path, "memory.max") == str(256 * MIB)
    assert sandbox_stats(pods, sandbox).usage.memory_limit == 256 * MIB
    eater = start(pods, sandbox.id, "eater", "tail /dev/zero", Resources(memory_limit=16 * MIB))
    assert wait_container(pods, eater.id, 60).reason == "OOMKilled"
    stop_container(pods, container.id, 0)
    assert not os.path.exists(TREE + inside)
    remove_sandbox(pods, sandbox.id)
    assert not os.path.exists(TREE + path)
    units = subprocess.run(
        ["systemctl", "list-units", "--all", "orlop*pod*"], capture_output=True, check=True
    )
    assert b".scope" not in units.stdout, units.stdout
    assert b".slice" not in units.stdout, units.stdout


def parent(pods: Pods) -> None:
    beside = ["systemd-run", "--unit=beside", f"--slice={PARENT}", "sleep", "10000"]
    subprocess.run(beside, check=True)
    try:
        for asked in (PARENT, PARENT_PATH):
            sandbox = run_sandbox(pods, pod("kube", cgroup_parent=asked, shared_pid=True))
            container = start(pods, sandbox.id, "main", "while :; do sleep 0.1; done", Resources())
            inside = f"{PARENT_PATH}/orlop-{container.id}.scope"
            assert pods.cgroup(sandbox.id, container.id) == inside
            assert str(container.pid) in read(inside, "cgroup.procs").split()
            assert sandbox_stats(pods, sandbox).usage.pids > 2
            stop_sandbox(pods, sandbox.id, 1)
            remove_sandbox(pods, sandbox.id)
            assert [name for name in os.listdir(TREE + PARENT_PATH) if name.endswith(".scope")] == []
        state = subprocess.run(["systemctl", "is-active", "beside"], capture_output=True, check=False)
        assert state.stdout.strip() == b"active", "what was not ours was ended"
    finally:
        subprocess.run(["systemctl", "stop", "beside"], check=False)


def pod(name: str, **changes: object) -> SandboxConfig:
    return SandboxConfig(name, f"{name}-{time.monotonic_ns()}", network="none", **changes)  # type: ignore[arg-type]


def start(pods: Pods, sandbox: str, name: str, script: str, limits: Resources):  # type: ignore[no-untyped-def]
    config = ContainerConfig(name, IMAGE, command=("sh", "-c", script), resources=limits)
    return start_container(pods, create_container(pods, sandbox, config).id)


def read(path: str, file: str) -> str:
    with open(f"{TREE}{path}/{file}", encoding="ascii") as stream:
        return stream.read().strip()


def main() -> None:
    node = Node("/var/lib/orlop-sd", "/run/orlop-sd", "/root/systemd.toml")
    with contextlib.closing(Pods(node, Config.load(node))) as pods:
        {"own": own, "parent": parent}[sys.argv[1]](pods)


if __name__ == "__main__":
    main()
