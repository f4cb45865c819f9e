"""Containers through the interface: created, started, told of, stopped, removed; their logs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.cri.requests import (
    BUSYBOX,
    STUBBORN,
    box,
    create,
    ended,
    eventually,
    execute,
    listening,
    pod,
    refused,
    remove,
    run,
    said,
    start,
    started,
    status,
)
from tests.support.cri import Client, Daemon

pytestmark = pytest.mark.host

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


def test_a_container_goes_through_its_states(shared: Client) -> None:
    sandbox = run(shared)
    identifier = create(shared, sandbox, box())
    made = status(shared, identifier)
    assert (made.state, made.started_at, made.finished_at) == (pb.CONTAINER_CREATED, 0, 0)
    assert made.created_at > 0
    listening(shared, start(shared, identifier))
    running = status(shared, identifier)
    assert running.state == pb.CONTAINER_RUNNING
    assert running.created_at == made.created_at <= running.started_at <= time.time_ns()
    shared.StopContainer(pb.StopContainerRequest(container_id=identifier, timeout=20))
    over = status(shared, identifier)
    assert (over.state, over.exit_code, over.reason) == (pb.CONTAINER_EXITED, 7, "Error")
    assert running.started_at == over.started_at <= over.finished_at <= time.time_ns()
    shared.RemoveContainer(pb.RemoveContainerRequest(container_id=identifier))
    with refused(NOT_FOUND):
        status(shared, identifier)
    remove(shared, sandbox)


def test_a_container_is_told_of_as_it_was_asked_for(shared: Client, shared_node: Node) -> None:
    store = Store(shared_node)
    image = store.image(BUSYBOX)
    store.close()
    sandbox = run(shared)
    config = box(
        metadata=pb.ContainerMetadata(name="main", attempt=4),
        image=pb.ImageSpec(image=image.id, user_specified_image="busybox:latest"),
        labels={"io.kubernetes.container.name": "main"},
        annotations={"note": 'verbatim "\n\\ü'},
        mounts=[pb.Mount(container_path="/data", host_path="/usr/share", readonly=True)],
        stop_signal=pb.SIGRTMINPLUS3,
        linux=pb.LinuxContainerConfig(
            resources=pb.LinuxContainerResources(
                cpu_shares=512, cpu_quota=50_000, cpu_period=100_000, memory_limit_in_bytes=64 << 20
            ),
            security_context=pb.LinuxContainerSecurityContext(
                run_as_user=pb.Int64Value(value=1000),
                run_as_group=pb.Int64Value(value=2000),
                supplemental_groups=[3000],
                supplemental_groups_policy=pb.Strict,
            ),
        ),
    )
    identifier = create(shared, sandbox, config)
    found = status(shared, identifier)
    assert found.metadata == config.metadata
    assert dict(found.labels) == dict(config.labels)
    assert dict(found.annotations) == dict(config.annotations)
    assert list(found.mounts) == list(config.mounts)
    assert found.image.image == "busybox:latest"
    assert found.image_id == image.id
    assert found.image_ref == f"docker.io/library/busybox@{image.digest}"
    assert found.stop_signal == pb.SIGRTMINPLUS3
    asked = config.linux.resources
    got = found.resources.linux
    for field in ("cpu_shares", "cpu_quota", "cpu_period", "memory_limit_in_bytes"):
        assert getattr(got, field) == getattr(asked, field)
    user = found.user.linux
    assert (user.uid, user.gid, list(user.supplemental_groups)) == (1000, 2000, [2000, 3000])
    item = next(
        each for each in shared.ListContainers(pb.ListContainersRequest()).containers if each.id == identifier
    )
    assert (item.metadata, item.image, item.image_ref, item.image_id) == (
        found.metadata,
        found.image,
        found.image_ref,
        found.image_id,
    )
    assert (item.pod_sandbox_id, item.created_at, item.state) == (sandbox, found.created_at, found.state)
    assert (dict(item.labels), dict(item.annotations)) == (dict(found.labels), dict(found.annotations))
    remove(shared, sandbox)


def test_a_verbose_status_holds_what_the_runtime_was_asked_for(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    request = pb.ContainerStatusRequest(container_id=identifier)
    assert not shared.ContainerStatus(request).info
    request.verbose = True
    info = json.loads(shared.ContainerStatus(request).info["info"])
    assert info["runtimeSpec"]["process"]["args"][0] == "sh"
    assert os.path.exists(f"/proc/{info['pid']}")
    remove(shared, sandbox)


@pytest.mark.parametrize(("code", "reason"), [(0, "Completed"), (3, "Error"), (137, "Error")])
def test_an_exit_code_and_its_reason_are_told(shared: Client, code: int, reason: str) -> None:
    sandbox = run(shared)
    over = ended(shared, started(shared, sandbox, box(f"exit {code}")))
    assert (over.exit_code, over.reason) == (code, reason)
    remove(shared, sandbox)


def test_a_container_that_uses_too_much_memory_says_so(shared: Client) -> None:
    sandbox = run(shared)
    resources = pb.LinuxContainerResources(memory_limit_in_bytes=16 << 20)
    script = "dd if=/dev/zero of=/dev/null bs=64M count=4"
    config = box(f"exec {script}", linux=pb.LinuxContainerConfig(resources=resources))
    over = ended(shared, started(shared, sandbox, config))
    assert (over.exit_code, over.reason) == (137, "OOMKilled")
    remove(shared, sandbox)


def test_no_grace_kills_at_once_and_some_lets_it_end(shared: Client) -> None:
    sandbox = run(shared)
    stubborn = started(shared, sandbox, box(STUBBORN, "stubborn"))
    begun = time.monotonic()
    shared.StopContainer(pb.StopContainerRequest(container_id=stubborn, timeout=1))
    assert time.monotonic() - begun >= 1
    assert status(shared, stubborn).exit_code == 137
    second = started(shared, sandbox, box(name="second"))
    shared.StopContainer(pb.StopContainerRequest(container_id=second, timeout=0))
    assert status(shared, second).exit_code == 137
    for identifier in (stubborn, second):  # once more is fine
        shared.StopContainer(pb.StopContainerRequest(container_id=identifier, timeout=0))
    remove(shared, sandbox)


def test_a_stop_signal_is_sent(shared: Client) -> None:
    sandbox = run(shared)
    script = "trap 'exit 9' USR1; touch /tmp/listening; while :; do sleep 1000 & wait $!; done"
    identifier = listening(shared, started(shared, sandbox, box(script, stop_signal=pb.SIGUSR1)))
    assert status(shared, identifier).stop_signal == pb.SIGUSR1
    shared.StopContainer(pb.StopContainerRequest(container_id=identifier, timeout=20))
    assert status(shared, identifier).exit_code == 9
    remove(shared, sandbox)


def test_a_running_container_is_removed_by_force(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    for _ in range(2):
        shared.RemoveContainer(pb.RemoveContainerRequest(container_id=identifier))
    with refused(NOT_FOUND):
        status(shared, identifier)
    remove(shared, sandbox)


def test_a_container_starts_once(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox, box("exit 0"))
    ended(shared, identifier)
    with refused(PRECONDITION, "runs once"):
        start(shared, identifier)
    remove(shared, sandbox)


def test_what_is_not_there_is_stopped_and_removed_already_but_not_started(shared: Client) -> None:
    for identifier in ("f" * 64, "0123456789ab", "busybox", "../../etc"):
        shared.StopContainer(pb.StopContainerRequest(container_id=identifier))
        shared.RemoveContainer(pb.RemoveContainerRequest(container_id=identifier))
        for call, request in (
            (shared.StartContainer, pb.StartContainerRequest(container_id=identifier)),
            (shared.ContainerStatus, pb.ContainerStatusRequest(container_id=identifier)),
            (shared.ExecSync, pb.ExecSyncRequest(container_id=identifier, cmd=["true"])),
            (shared.ReopenContainerLog, pb.ReopenContainerLogRequest(container_id=identifier)),
        ):
            with refused(NOT_FOUND):
                call(request)


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("StartContainer", pb.StartContainerRequest()),
        ("StopContainer", pb.StopContainerRequest()),
        ("RemoveContainer", pb.RemoveContainerRequest()),
        ("ContainerStatus", pb.ContainerStatusRequest()),
        ("ExecSync", pb.ExecSyncRequest(cmd=["true"])),
        ("UpdateContainerResources", pb.UpdateContainerResourcesRequest()),
        ("ReopenContainerLog", pb.ReopenContainerLogRequest()),
        ("CreateContainer", pb.CreateContainerRequest()),
        ("StopPodSandbox", pb.StopPodSandboxRequest()),
        ("RemovePodSandbox", pb.RemovePodSandboxRequest()),
        ("PodSandboxStatus", pb.PodSandboxStatusRequest()),
        ("RunPodSandbox", pb.RunPodSandboxRequest()),
        ("PortForward", pb.PortForwardRequest()),
    ],
)
def test_a_request_about_nothing_is_invalid(shared: Client, name: str, request_: object) -> None:
    with refused(INVALID):
        getattr(shared, name)(request_)


def test_lists_hold_what_passes_every_part_of_the_filter(shared: Client) -> None:
    sandbox, other = run(shared), run(shared)
    one = started(shared, sandbox, box(name="one", labels={"app": "a", "tier": "x"}))
    two = create(shared, sandbox, box(name="two", labels={"app": "a"}))
    three = create(shared, other, box(name="three"))

    def found(**fields: object) -> set[str]:
        wanted = pb.ContainerFilter(**fields)  # type: ignore[arg-type]
        items = shared.ListContainers(pb.ListContainersRequest(filter=wanted)).containers
        return {item.id for item in items} & {one, two, three}

    assert found() == {one, two, three}
    assert found(id=one[:9]) == {one}
    assert found(pod_sandbox_id=sandbox) == {one, two}
    assert found(pod_sandbox_id=other[:12]) == {three}
    assert found(state=pb.ContainerStateValue(state=pb.CONTAINER_RUNNING)) == {one}
    assert found(state=pb.ContainerStateValue(state=pb.CONTAINER_CREATED)) == {two, three}
    assert found(label_selector={"app": "a"}) == {one, two}
    assert found(label_selector={"app": "a", "tier": "x"}, pod_sandbox_id=other) == set()
    remove(shared, sandbox)
    remove(shared, other)


def test_a_list_knows_of_an_end_as_soon_as_it_has_happened(shared: Client) -> None:
    sandbox = run(shared)
    running = [started(shared, sandbox, box(name=f"c{number}")) for number in range(3)]

    def states() -> list[pb.ContainerState]:
        items = shared.ListContainers(pb.ListContainersRequest()).containers
        return [item.state for item in items if item.id in running]

    assert states() == [pb.CONTAINER_RUNNING] * 3
    execute(shared, running[1], "kill -9 -1; kill -15 1")
    assert ended(shared, running[1])
    assert states() == [pb.CONTAINER_RUNNING, pb.CONTAINER_EXITED, pb.CONTAINER_RUNNING]
    remove(shared, sandbox)


# What a container runs, and as whom


def test_the_command_its_arguments_environment_and_folder(shared: Client, tmp_path: Path) -> None:
    envs = [pb.KeyValue(key="A", value="1"), pb.KeyValue(key="B", value="=x y\nz")]
    sandbox = run(shared, pod(log_directory=str(tmp_path)))
    config = pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="main"),
        image=pb.ImageSpec(image=BUSYBOX),
        command=["sh", "-c"],
        args=['echo "$A:$B:$PWD:$0:$1"', "zero", "one"],
        working_dir="/usr/new",
        envs=envs,
        log_path="main.log",
    )
    ended(shared, started(shared, sandbox, config))
    lines = [line.split(" ", 3)[3] for line in (tmp_path / "main.log").read_text().splitlines()]
    assert lines == ["1:=x y", "z:/usr/new:zero:one"]
    remove(shared, sandbox)


def _secured(**fields: object) -> pb.LinuxContainerConfig:
    context = pb.LinuxContainerSecurityContext(**fields)  # type: ignore[arg-type]
    return pb.LinuxContainerConfig(security_context=context)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"run_as_user": pb.Int64Value(value=1001)}, "1001 0"),
        ({"run_as_user": pb.Int64Value(value=0), "run_as_group": pb.Int64Value(value=5)}, "0 5"),
        ({"run_as_username": "nobody"}, "65534 65534"),
        ({"run_as_username": "nobody", "run_as_group": pb.Int64Value(value=7)}, "65534 7"),
    ],
)
def test_the_user_is_who_was_asked_for(shared: Client, fields: dict[str, object], expected: str) -> None:
    assert said(shared, "echo $(id -u) $(id -g)", linux=_secured(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"run_as_group": pb.Int64Value(value=5)}, "run_as_group"),
        ({"run_as_user": pb.Int64Value(value=1), "run_as_username": "nobody"}, "run_as_username"),
        ({"run_as_user": pb.Int64Value(value=-1)}, "is not an ID"),
        ({"run_as_user": pb.Int64Value(value=2**32)}, "is not an ID"),  # CVE-2024-40635's class
        ({"supplemental_groups": [2**31]}, "is not an ID"),
        ({"run_as_username": "nosuchuser"}, "nosuchuser"),
        ({"run_as_username": "nobody:root"}, "is no name"),
        ({"privileged": True}, "privileged"),
        ({"namespace_options": pb.NamespaceOption(pid=pb.NODE)}, "PID namespace"),
        ({"namespace_options": pb.NamespaceOption(ipc=pb.NODE)}, "IPC namespace"),
        ({"namespace_options": pb.NamespaceOption(pid=pb.TARGET)}, "target_id"),
        ({"masked_paths": ["relative"]}, "masked_paths"),
        ({"capabilities": pb.Capability(add_capabilities=["FLY"])}, "FLY"),
        (
            {"seccomp": pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref="x")},
            "seccomp",
        ),
    ],
)
def test_a_security_context_that_cannot_be_is_refused(
    shared: Client, fields: dict[str, object], words: str
) -> None:
    sandbox = run(shared)
    with refused(INVALID, words):
        create(shared, sandbox, box(linux=_secured(**fields)))
    listed = shared.ListContainers(
        pb.ListContainersRequest(filter=pb.ContainerFilter(pod_sandbox_id=sandbox))
    )
    assert not listed.containers
    remove(shared, sandbox)


def test_a_privileged_container_is_made_where_its_pod_is_privileged(shared: Client) -> None:
    config = pod()
    config.linux.security_context.privileged = True
    assert said(shared, "test -e /dev/kmsg && echo yes", config, linux=_secured(privileged=True)) == "yes"


def test_paths_are_hidden_as_asked_and_none_where_the_list_is_empty(shared: Client) -> None:
    script = "wc -c < /etc/passwd; touch /tmp/x 2>/dev/null && echo writes"
    hidden = _secured(masked_paths=["/etc/passwd"], readonly_paths=["/tmp"])
    assert said(shared, script + "; true", linux=hidden).split() == ["0"]
    shown = said(shared, script, linux=_secured(run_as_user=pb.Int64Value(value=0)))
    assert shown.split()[0] != "0"
    assert shown.split()[1] == "writes"


def test_the_profile_for_system_calls_is_the_one_asked_for(shared: Client, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    kinds = pb.SecurityProfile
    mode = "grep Seccomp: /proc/self/status | cut -f2; mkdir /tmp/new 2>/dev/null && echo made; true"
    local = kinds(profile_type=kinds.Localhost, localhost_ref=str(profile))
    for context, expected in (
        ({"seccomp": kinds(profile_type=kinds.RuntimeDefault)}, ["2", "made"]),
        ({"seccomp": kinds(profile_type=kinds.Unconfined)}, ["0", "made"]),
        ({"seccomp": local}, ["2"]),
        ({"seccomp_profile_path": "runtime/default"}, ["2", "made"]),
        ({"seccomp_profile_path": f"localhost/{profile}"}, ["2"]),
        ({}, ["0", "made"]),
    ):
        assert said(shared, mode, linux=_secured(**context)).split() == expected, context


def test_a_pid_namespace_is_the_pods_its_own_or_anothers(shared: Client) -> None:
    pids = "ls -d /proc/[0-9]* | wc -l"
    sandbox = run(shared, pod(options=pb.NamespaceOption(network=pb.NODE)))  # POD: the CRI's default
    together = [started(shared, sandbox, box(name=f"c{number}")) for number in range(2)]
    alone = started(
        shared,
        sandbox,
        box(name="alone", linux=_secured(namespace_options=pb.NamespaceOption(pid=pb.CONTAINER))),
    )
    assert execute(shared, together[0], "cat /proc/1/cmdline").stdout.split(b"\0")[0] != b"sh"
    many, few = (int(execute(shared, each, pids).stdout) for each in (together[0], alone))
    assert many > few
    assert execute(shared, alone, "cat /proc/1/cmdline").stdout.startswith(b"sh\0")
    remove(shared, sandbox)


def test_a_container_joins_the_pid_namespace_of_its_target(shared: Client) -> None:
    sandbox = run(shared)
    target = started(shared, sandbox, box(name="target"))
    options = pb.NamespaceOption(pid=pb.TARGET, target_id=target)
    config = box("sleep 1000", name="debugger", linux=_secured(namespace_options=options))
    debugger = started(shared, sandbox, config)
    assert b"trap" in execute(shared, debugger, "cat /proc/1/cmdline").stdout
    remove(shared, sandbox)


# Mounts


def test_a_mount_follows_a_link_and_reads_or_writes(shared: Client, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "file").write_text("content\n")
    (tmp_path / "link").symlink_to(real)
    mounts = [
        pb.Mount(container_path="/data/inner", host_path=str(tmp_path / "link"), readonly=True),
        pb.Mount(container_path="/data", host_path=str(tmp_path)),  # the outer one, sent last
    ]
    script = "cat /data/inner/file; touch /data/inner/no 2>/dev/null || touch /data/new; ls /data/inner"
    assert said(shared, script, mounts=mounts).split() == ["content", "file"]
    assert (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("mount", "code"),
    [
        (pb.Mount(container_path="/data", host_path="/etc/passwd/folder"), INVALID),
        (pb.Mount(container_path="/data"), INVALID),
        (pb.Mount(container_path="/data", host_path="relative"), INVALID),
        (pb.Mount(container_path="data", host_path="/usr"), INVALID),
        (pb.Mount(container_path="/data/../etc", host_path="/usr"), INVALID),
        (pb.Mount(container_path="/data", host_path="/usr", image=pb.ImageSpec(image=BUSYBOX)), INVALID),
        (pb.Mount(container_path="/data", host_path="/usr", recursive_read_only=True), INVALID),
        (pb.Mount(container_path="/data", image=pb.ImageSpec(image="nosuch")), NOT_FOUND),
    ],
)
def test_a_mount_that_cannot_be_is_refused(shared: Client, mount: pb.Mount, code: grpc.StatusCode) -> None:
    sandbox = run(shared)
    with refused(code):
        create(shared, sandbox, box(mounts=[mount]))
    remove(shared, sandbox)


def test_a_source_that_is_not_there_is_made_unless_the_configuration_says_no(
    serving: Daemon, client: Client, tmp_path: Path
) -> None:
    """As containerd and CRI-O do for a hostPath of no type, which many manifests count on."""
    sandbox = run(client)
    mount = pb.Mount(container_path="/data", host_path=str(tmp_path / "a/b"))
    identifier = started(client, sandbox, box(mounts=[mount]))
    assert execute(client, identifier, "echo x > /data/y").exit_code == 0
    assert (tmp_path / "a/b/y").read_text() == "x\n"
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with refused(INVALID, "cannot be made"):
        create(
            client,
            sandbox,
            box(name="b", mounts=[pb.Mount(container_path="/d", host_path=f"{tmp_path}/link")]),
        )
    serving.stop()
    Path(serving.node.config).write_text("[cri]\ncreate_mount_sources = false\n")
    serving.start()
    mount.host_path = str(tmp_path / "c")
    with refused(NOT_FOUND, mount.host_path):
        create(client, sandbox, box(name="c", mounts=[mount]))
    assert not (tmp_path / "c").exists()
    remove(client, sandbox)


def test_an_image_is_mounted_read_only(shared: Client) -> None:
    mount = pb.Mount(container_path="/vol", image=pb.ImageSpec(image=BUSYBOX), image_sub_path="bin")
    script = "test -e /vol/busybox && echo there; touch /vol/x 2>/dev/null || echo read-only"
    assert said(shared, script, mounts=[mount]).split() == ["there", "read-only"]


# Logs


def test_a_log_is_below_the_pods_folder_and_can_be_begun_anew(shared: Client, tmp_path: Path) -> None:
    sandbox = run(shared, pod(log_directory=str(tmp_path)))
    script = "trap 'echo again' USR1; echo first; while :; do sleep 1000 & wait $!; done"
    identifier = started(shared, sandbox, box(script, log_path="main/0.log"))
    log = tmp_path / "main/0.log"
    assert status(shared, identifier).log_path == str(log)
    eventually(lambda: log.exists() and "first" in log.read_text())
    log.rename(tmp_path / "old.log")
    shared.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=identifier))
    assert log.read_text() == ""
    execute(shared, identifier, "kill -USR1 1")
    eventually(lambda: "again" in log.read_text())
    assert "again" not in (tmp_path / "old.log").read_text()
    shared.StopContainer(pb.StopContainerRequest(container_id=identifier))
    with refused(PRECONDITION):
        shared.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=identifier))
    remove(shared, sandbox)
    assert log.exists()


@pytest.mark.parametrize("path", ["../out.log", "/etc/cron.d/out", "a/../../out.log", "link/out.log", "file"])
def test_a_log_does_not_leave_the_pods_folder(shared: Client, tmp_path: Path, path: str) -> None:
    """CVE-2025-0750's class."""
    logs, outside = tmp_path / "logs", tmp_path / "outside"
    logs.mkdir()
    outside.mkdir()
    (logs / "link").symlink_to(outside)
    (logs / "file").symlink_to(outside / "target")
    sandbox = run(shared, pod(log_directory=str(logs)))
    with refused(INVALID):
        create(shared, sandbox, box(log_path=path))
    assert not list(outside.iterdir())
    assert not (tmp_path / "out.log").exists()
    remove(shared, sandbox)


def test_a_pod_in_a_user_namespace_has_other_users_than_the_machine(shared: Client) -> None:
    mapping = [pb.IDMapping(host_id=200_000, container_id=0, length=65_536)]
    users = pb.UserNamespace(mode=pb.POD, uids=mapping, gids=mapping)
    config = pod(options=pb.NamespaceOption(pid=pb.CONTAINER, userns_options=users))
    assert said(shared, "cat /proc/self/uid_map; id -u", config).split() == ["0", "200000", "65536", "0"]
    sandbox = run(shared, config)
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
    options = shared.PodSandboxStatus(request).status.linux.namespaces.options
    assert options.userns_options == users
    remove(shared, sandbox)


def test_a_time_of_grace_without_bounds_is_one(shared: Client) -> None:
    sandbox = run(shared)
    identifier = listening(shared, started(shared, sandbox))
    shared.StopContainer(pb.StopContainerRequest(container_id=identifier, timeout=2**62))
    assert status(shared, identifier).exit_code == 7
    second = started(shared, sandbox, box(name="second"))
    assert execute(shared, second, "exit 3", timeout=2**62).exit_code == 3
    shared.StopContainer(pb.StopContainerRequest(container_id=second, timeout=-5))
    assert status(shared, second).exit_code == 137
    remove(shared, sandbox)


def test_an_image_that_is_not_there_is_named(shared: Client) -> None:
    sandbox = run(shared)
    with refused(NOT_FOUND, "nosuch"):
        create(shared, sandbox, box(image=pb.ImageSpec(image="docker.io/library/nosuch:1")))
    with refused(NOT_FOUND):
        create(shared, "f" * 64, box())
    with refused(INVALID, "image"):
        create(shared, sandbox, box(image=pb.ImageSpec()))
    with refused(INVALID, "metadata.name"):
        create(shared, sandbox, box(metadata=pb.ContainerMetadata()))
    remove(shared, sandbox)


def test_the_runtime_says_who_makes_cgroups_and_takes_the_pods_range(shared: Client) -> None:
    answer = shared.RuntimeConfig(pb.RuntimeConfigRequest())
    assert answer.linux.cgroup_driver == pb.CGROUPFS

    def told(cidr: str) -> pb.UpdateRuntimeConfigRequest:
        network = pb.NetworkConfig(pod_cidr=cidr)
        return pb.UpdateRuntimeConfigRequest(runtime_config=pb.RuntimeConfig(network_config=network))

    shared.UpdateRuntimeConfig(told("10.1.0.0/24,fd00::/64"))
    with refused(INVALID, "pod_cidr"):
        shared.UpdateRuntimeConfig(told("nonsense"))


def test_the_runtime_is_ready_and_says_what_it_can_do(shared: Client) -> None:
    answer = shared.Status(pb.StatusRequest(verbose=True))
    assert {each.type: each.status for each in answer.status.conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    assert answer.features.supplemental_groups_policy
    assert json.loads(answer.info["config"])["runtime"]["path"] == "crun"
    assert not shared.Status(pb.StatusRequest()).info


@pytest.mark.parametrize("command", ["/no/such/program", "/etc/passwd"])
def test_what_cannot_be_executed_is_told_by_its_start(serving: Daemon, client: Client, command: str) -> None:
    """As with containerd, so that a pod that is never restarted fails and others back off."""
    sandbox = run(client)
    first = create(client, sandbox, box(name="first", command=[command]))
    second = create(client, sandbox, box(name="second", command=[command]))
    serving.kill()
    serving.start()
    assert status(client, first).state == pb.CONTAINER_CREATED
    with refused(INVALID, command):
        start(client, first)
    now = status(client, first)
    assert (now.state, now.reason, now.exit_code) == (pb.CONTAINER_EXITED, "StartError", 128)
    assert command in now.message
    assert now.finished_at >= now.created_at
    with refused(PRECONDITION):
        start(client, first)
    client.StopContainer(pb.StopContainerRequest(container_id=second, timeout=5))
    assert status(client, second).exit_code == 128
    for each in (first, second):
        client.RemoveContainer(pb.RemoveContainerRequest(container_id=each))
    remove(client, sandbox)
