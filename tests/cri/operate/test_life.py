"""The daemon's life beside its requests: whose logs are bounded by whom, memory, a start after kill -9."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import log
from orlop.pod.sandbox import at_once
from tests.cri.operate.test_signals import sandbox_request, until
from tests.support.cri import Client, Daemon
from tests.support.node import BUSYBOX

pytestmark = pytest.mark.host


def _monitor_of(container_id: str) -> list[str]:
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                argv = Path(f"/proc/{entry}/cmdline").read_text().split("\0")
            except OSError:
                continue
            if argv[0].endswith("conmon") and container_id in argv:
                return argv
    raise AssertionError("it has no monitor")


def test_the_kubelet_alone_rotates_the_logs_of_its_containers(
    serving: Daemon, client: Client, tmp_path: Path
) -> None:
    request = sandbox_request("logs")
    request.config.log_directory = str(tmp_path)
    sandbox = client.RunPodSandbox(request).pod_sandbox_id
    config = pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="main"),
        image=pb.ImageSpec(image=BUSYBOX),
        command=["sleep", "1000"],
        log_path="main.log",
    )
    created = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=config, sandbox_config=request.config)
    identifier = client.CreateContainer(created).container_id
    argv = _monitor_of(identifier)
    assert f"k8s-file:{tmp_path}/main.log" in argv
    assert "--log-size-max" not in argv
    client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox))


def test_what_side_threads_log_has_the_requests_id_too() -> None:
    found: list[str] = []
    with log.bound(request="abc"):
        at_once([lambda: found.append(log.bound_fields()["request"])] * 3)
    assert found == ["abc"] * 3


def test_memory_at_rest_is_far_below_that_of_its_peers_under_load(serving: Daemon, client: Client) -> None:
    client.ListContainers(pb.ListContainersRequest())
    status = Path(f"/proc/{serving.pid}/status").read_text()
    [resident] = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    assert resident < 70 * 1024  # CRI-O's has 82 MiB with 50 pods, each of which costs 0.14 here


def test_a_start_after_kill_needs_no_help(serving: Daemon) -> None:
    serving.kill()
    serving.start()
    with Client(serving.socket) as client:
        assert client.Version(pb.VersionRequest()).runtime_name == "orlop"
    until(lambda: os.path.exists(serving.node.in_state("serve.json")))
