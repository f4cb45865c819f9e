"""Running containers through the interface: what is executed in them, and how their limits change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import limits
from tests.cri.requests import (
    box,
    create,
    ended,
    execute,
    refused,
    remove,
    run,
    started,
    status,
)
from tests.support.cri import Client

pytestmark = pytest.mark.host

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def test_exec_tells_both_streams_and_the_exit_code(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    done = execute(shared, identifier, "echo out; echo err >&2; exit 4")
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 4)
    with refused(INVALID, "cmd"):
        shared.ExecSync(pb.ExecSyncRequest(container_id=identifier))
    with refused(INVALID, "nosuch"):
        shared.ExecSync(pb.ExecSyncRequest(container_id=identifier, cmd=["nosuch"]))
    remove(shared, sandbox)


def test_exec_is_killed_after_its_time_and_the_kubelet_hears_that(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "did not end within 1 s"):
        execute(shared, identifier, "sleep 777", timeout=1)
    assert b"sleep 777" not in execute(shared, identifier, "ps").stdout
    assert status(shared, identifier).state == pb.CONTAINER_RUNNING
    remove(shared, sandbox)


def test_exec_says_no_more_than_fits_one_message_and_ends_well(shared: Client) -> None:
    """CVE-2022-1708's class."""
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    done = execute(shared, identifier, "head -c 20000000 /dev/zero; echo end >&2; exit 3")
    assert done.exit_code == 3
    assert len(done.stdout) == limits.CRI_EXEC_OUTPUT
    remove(shared, sandbox)


def test_exec_needs_a_running_container(shared: Client) -> None:
    sandbox = run(shared)
    made = create(shared, sandbox, box(name="made"))
    over = started(shared, sandbox, box("exit 0", name="over"))
    ended(shared, over)
    for identifier in (made, over):
        with refused(PRECONDITION, "does not run"):
            execute(shared, identifier, "true")
        with refused(PRECONDITION, "does not run"):
            shared.Exec(pb.ExecRequest(container_id=identifier, cmd=["true"], stdout=True))
        with refused(PRECONDITION, "does not run"):
            shared.Attach(pb.AttachRequest(container_id=identifier, stdout=True))
    remove(shared, sandbox)


def test_streams_are_checked_before_an_address_is_given(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    with refused(INVALID, "no stream"):
        shared.Exec(pb.ExecRequest(container_id=identifier, cmd=["true"]))
    with refused(INVALID, "stderr"):
        shared.Exec(pb.ExecRequest(container_id=identifier, cmd=["true"], tty=True, stdout=True, stderr=True))
    with refused(INVALID, "no stream"):
        shared.Attach(pb.AttachRequest(container_id=identifier))
    with refused(INVALID, "port 0"):
        shared.PortForward(pb.PortForwardRequest(pod_sandbox_id=sandbox, port=[0]))
    remove(shared, sandbox)


def test_exec_attach_and_port_forward_give_addresses(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    urls = {
        shared.Exec(pb.ExecRequest(container_id=identifier, cmd=["true"], stdout=True)).url,
        shared.Attach(pb.AttachRequest(container_id=identifier, stdout=True)).url,
        shared.PortForward(pb.PortForwardRequest(pod_sandbox_id=sandbox, port=[80])).url,
    }
    assert len(urls) == 3
    assert all(url.startswith("http://127.0.0.1:") for url in urls)
    remove(shared, sandbox)


def test_limits_change_while_it_runs(shared: Client) -> None:
    sandbox = run(shared)
    first = pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=256)
    identifier = started(shared, sandbox, box(linux=pb.LinuxContainerConfig(resources=first)))
    change = pb.LinuxContainerResources(memory_limit_in_bytes=128 << 20)
    shared.UpdateContainerResources(pb.UpdateContainerResourcesRequest(container_id=identifier, linux=change))
    now = status(shared, identifier).resources.linux
    assert (now.memory_limit_in_bytes, now.cpu_shares) == (128 << 20, 256)
    shared.StopContainer(pb.StopContainerRequest(container_id=identifier))
    with refused(PRECONDITION, "has ended"):
        shared.UpdateContainerResources(
            pb.UpdateContainerResourcesRequest(container_id=identifier, linux=change)
        )
    remove(shared, sandbox)


def test_limits_are_taken_away(shared: Client) -> None:
    """-1, at the beginning and later: the kernel's own word for no limit."""
    sandbox = run(shared)
    none = pb.LinuxContainerResources(memory_limit_in_bytes=-1, memory_swap_limit_in_bytes=-1, cpu_quota=-1)
    free = started(shared, sandbox, box(name="free", linux=pb.LinuxContainerConfig(resources=none)))
    some = pb.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_quota=20_000, cpu_period=100_000)
    bound = started(shared, sandbox, box(name="bound", linux=pb.LinuxContainerConfig(resources=some)))
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    look = f"cat {files} 2>/dev/null; true"
    assert execute(shared, bound, look).stdout.strip() == b"%d" % (64 << 20)
    shared.UpdateContainerResources(pb.UpdateContainerResourcesRequest(container_id=bound, linux=none))
    assert execute(shared, bound, look).stdout == execute(shared, free, look).stdout
    told = status(shared, bound).resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_quota) == (-1, -1)
    for name in ("memory_limit_in_bytes", "memory_swap_limit_in_bytes", "cpu_quota"):
        wrong = pb.LinuxContainerResources()
        setattr(wrong, name, -2)
        with refused(INVALID, name):
            shared.UpdateContainerResources(
                pb.UpdateContainerResourcesRequest(container_id=bound, linux=wrong)
            )
    remove(shared, sandbox)


def test_limits_of_a_pod_change_and_are_told(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    request = pb.UpdatePodSandboxResourcesRequest(
        pod_sandbox_id=sandbox,
        resources=pb.LinuxContainerResources(memory_limit_in_bytes=96 << 20),
        overhead=pb.LinuxContainerResources(memory_limit_in_bytes=4 << 20),
    )
    shared.UpdatePodSandboxResources(request)
    asked = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
    config = json.loads(shared.PodSandboxStatus(asked).info["info"])["config"]
    assert config["resources"]["memory_limit"] == 96 << 20
    assert config["overhead"]["memory_limit"] == 4 << 20
    assert execute(shared, identifier, "true").exit_code == 0
    shared.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=sandbox))
    with refused(PRECONDITION, "not ready"):
        shared.UpdatePodSandboxResources(request)
    remove(shared, sandbox)
    with refused(NOT_FOUND):
        shared.UpdatePodSandboxResources(request)


def test_a_checkpoint_is_an_archive_or_says_what_is_missing(shared: Client, tmp_path: Path) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    with refused(INVALID, "not an absolute path"):
        shared.CheckpointContainer(
            pb.CheckpointContainerRequest(container_id=identifier, location="relative.tar")
        )
    archive = tmp_path / "checkpoint.tar"
    request = pb.CheckpointContainerRequest(container_id=identifier, location=str(archive))
    if shutil.which("criu"):
        shared.CheckpointContainer(request)
        assert archive.stat().st_size > 0
    else:
        with refused(grpc.StatusCode.UNIMPLEMENTED, "criu"):
            shared.CheckpointContainer(request)
        assert not archive.exists()
    assert status(shared, identifier).state == pb.CONTAINER_RUNNING
    remove(shared, sandbox)
