"""What the kubelet passes on from a pod's author, as harm: through the real socket, named by CVEs."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import limits
from orlop.kit.node import Node
from tests.cri.requests import (
    box,
    create,
    eventually,
    execute,
    pod,
    refused,
    remove,
    run,
    said,
    start,
    started,
    status,
)
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host
_REFUSED = grpc.StatusCode.INVALID_ARGUMENT
_POD = pb.NamespaceOption(network=pb.POD, pid=pb.CONTAINER)


# Logs


@pytest.mark.parametrize("path", ["../x.log", "/etc/x.log", "a/../../x.log", "a\0b", "x\n.log", "..", "a/"])
def test_a_log_path_leads_out_of_no_directory_cve_2025_0750(
    path: str, shared: Client, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    sandbox = run(shared, pod(log_directory=str(logs)))
    with refused(_REFUSED):
        create(shared, sandbox, box(log_path=path))
    remove(shared, sandbox)
    assert os.listdir(tmp_path) == ["logs"]


def test_a_link_in_the_place_of_a_log_is_not_followed_cve_2025_0750(shared: Client, tmp_path: Path) -> None:
    """Of a pod that has the machine's /var/log: at creation as at rotation, as the file or as a folder."""
    logs, prey = tmp_path / "logs", tmp_path / "prey"
    logs.mkdir()
    prey.mkdir()
    (prey / "file").write_text("precious")
    sandbox = run(shared, pod(log_directory=str(logs)))
    (logs / "link.log").symlink_to(prey / "file")
    (logs / "folder").symlink_to(prey)
    for path in ("link.log", "folder/new.log"):
        with refused(_REFUSED, "link"):
            create(shared, sandbox, box(log_path=path))
    identifier = started(
        shared, sandbox, box("while :; do echo noise; sleep 0.01; done", log_path="main/0.log")
    )
    (logs / "main" / "0.log").rename(logs / "main" / "0.log.1")
    (logs / "main" / "0.log").symlink_to(prey / "file")
    with refused(_REFUSED, "link"):
        shared.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=identifier))
    (logs / "main" / "0.log").unlink()
    (logs / "main").rename(logs / "away")
    (logs / "main").symlink_to(prey)
    with refused(_REFUSED, "link"):
        shared.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=identifier))
    remove(shared, sandbox)
    assert (prey / "file").read_text() == "precious"
    assert os.listdir(prey) == ["file"]


def test_a_folder_of_logs_that_is_swapped_all_the_time_gets_nothing_out(
    shared: Client, tmp_path: Path
) -> None:
    """Whatever moment it is swapped at: nothing that the container says lands outside."""
    logs, prey = tmp_path / "logs", tmp_path / "prey"
    logs.mkdir()
    prey.mkdir()
    sandbox = run(shared, pod(log_directory=str(logs)))
    (logs / "real").mkdir()
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for target in ("real", str(prey)):
                (logs / "new").symlink_to(target)
                (logs / "new").rename(logs / "main")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for attempt in range(12):
            config = box("echo secret", name=f"c{attempt}", log_path=f"main/{attempt}.log")
            try:
                start(shared, create(shared, sandbox, config))
            except grpc.RpcError as error:
                assert error.code() in (_REFUSED, grpc.StatusCode.NOT_FOUND), error
    finally:
        over.set()
        swapper.join()
    remove(shared, sandbox)
    assert [path.name for path in prey.iterdir() if b"secret" in path.read_bytes()] == []


# Orders in disguise


@pytest.mark.parametrize(
    ("name", "options", "allowed"),
    [
        ("kernel.shm_rmid_forced", pb.NamespaceOption(network=pb.NODE, ipc=pb.NODE), False),
        ("net.core.somaxconn", pb.NamespaceOption(network=pb.NODE), False),
        ("fs.mqueue.msg_max", pb.NamespaceOption(network=pb.NODE, ipc=pb.NODE), False),
        ("kernel.core_pattern", _POD, False),
        ("kernel/core_pattern", _POD, False),
        ("net.core.somaxconn", _POD, True),
    ],
)
def test_a_sysctl_is_the_pods_or_none_cve_2022_0532_2022_0811(
    name: str, options: pb.NamespaceOption, allowed: bool, shared: Client
) -> None:
    before = (
        Path("/proc/sys/kernel/core_pattern").read_text(),
        Path("/proc/sys/net/core/somaxconn").read_text(),
    )
    asked = pod(options=options)
    asked.linux.sysctls[name] = "77"
    if allowed:
        assert said(shared, "cat /proc/sys/net/core/somaxconn", asked) == "77"
    else:
        with refused(_REFUSED, "sysctl"):
            run(shared, asked)
    after = (
        Path("/proc/sys/kernel/core_pattern").read_text(),
        Path("/proc/sys/net/core/somaxconn").read_text(),
    )
    assert before == after


@pytest.mark.parametrize(
    "value", ["1+kernel.core_pattern=|/evil", "1\nkernel.core_pattern=|/evil", "1=2", "1\0"]
)
def test_a_sysctls_value_is_one_value_cve_2022_0811(value: str, shared: Client) -> None:
    asked = pod(options=_POD)
    asked.linux.sysctls["net.core.somaxconn"] = value
    with refused(_REFUSED, "sysctl"):
        run(shared, asked)


ORDERS = {
    "io.kubernetes.cri-o.UnifiedCgroup.main": "memory.max=max",
    "io.kubernetes.cri-o.LinkLogs": "logging-volume",
    "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true",
    "io.kubernetes.cri-o.userns-mode": "auto",
    "io.kubernetes.cri-o.Devices": "/dev/mem:/dev/mem:rwm",
    "io.kubernetes.cri-o.umask": "0000",
    "cdi.k8s.io/evil": "evil.example/all=all",
    "org.systemd.property.ExecStartPre": "'/evil'",
    "run.oci.hooks.prestart": "/evil",
    "run.oci.handler": "wasm",
    "io.containerd.runc.v2.group": "evil",
}


def test_annotations_of_a_pod_are_words_cve_2023_6476_2024_3154_2025_0750(
    shared: Client, tmp_path: Path
) -> None:
    """They raise no limit, give no device and no hook; they are told again, as they were."""
    asked = pod(annotations=ORDERS, log_directory=str(tmp_path))
    sandbox = run(shared, asked)
    config = box("sleep 1000")
    config.linux.resources.memory_limit_in_bytes = 64 * limits.MIB
    identifier = started(shared, sandbox, config)
    request = pb.ContainerStatusRequest(container_id=identifier, verbose=True)
    spec = shared.ContainerStatus(request).info["info"]
    for word in ("evil", "ExecStartPre", "UnifiedCgroup", "/dev/mem"):
        assert word not in spec
    assert f'"limit": {64 * limits.MIB}' in spec
    assert execute(shared, identifier, "test -e /dev/mem").exit_code == 1
    [told] = [item for item in shared.ListPodSandbox(pb.ListPodSandboxRequest()).items if item.id == sandbox]
    assert dict(told.annotations) == ORDERS
    assert os.listdir(tmp_path) == []
    remove(shared, sandbox)


def test_names_and_ids_are_no_patterns_and_no_paths(shared: Client) -> None:
    sandbox = run(shared)
    for text in ("____", "%%%%", "*****", "' OR 1=1 --", "../../../../etc", "\0\0\0\0\0", "x" * 1_000_000):
        with refused(grpc.StatusCode.NOT_FOUND):
            shared.ContainerStatus(pb.ContainerStatusRequest(container_id=text))
        shared.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=text))
        shared.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=text))
    for text in ("../x", "a/b", "a\nb", "a\0b", "x" * 300, "\N{RIGHT-TO-LEFT OVERRIDE}x", ""):
        asked = pod()
        asked.metadata.name = text
        with refused(_REFUSED):
            run(shared, asked)
        with refused(_REFUSED):
            create(shared, sandbox, box(name=text))
    remove(shared, sandbox)


@pytest.mark.parametrize(
    "name",
    [
        "dir:/etc",
        "oci:/tmp/x",
        "docker-archive:/etc/passwd",
        "/etc/passwd",
        "../../x",
        "--help",
        "a\nb",
        "file:///x",
    ],
)
def test_the_name_of_an_image_is_no_path_of_the_machine(name: str, shared: Client) -> None:
    with refused(_REFUSED):
        shared.PullImage(pb.PullImageRequest(image=pb.ImageSpec(image=name)))


def _changed(change: Callable[[Any], None]) -> pb.ContainerConfig:
    config = box("sleep 1000")
    change(config)
    return config


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.mounts.add(container_path="/../../x", host_path="/tmp"),
        lambda c: c.mounts.add(container_path="/", host_path="/tmp"),
        lambda c: c.mounts.add(container_path="/x\0y", host_path="/tmp"),
        lambda c: c.mounts.add(container_path="/x", host_path="tmp"),
        lambda c: c.devices.add(host_path="/dev/null", container_path="/../x", permissions="rwm"),
        lambda c: c.devices.add(host_path="/dev/null", container_path="/dev/x", permissions="rwmx"),
        lambda c: c.CDI_devices.add(name="../../etc/passwd"),
        lambda c: c.envs.add(key="A\0B", value="x"),
        lambda c: c.envs.add(key="A=B", value="x"),
        lambda c: c.linux.security_context.run_as_user.__setattr__("value", 2**32),
        lambda c: c.linux.security_context.run_as_user.__setattr__("value", -1),
        lambda c: c.linux.security_context.supplemental_groups.append(2**32),
        lambda c: c.linux.security_context.masked_paths.append("proc"),
        lambda c: c.linux.security_context.capabilities.add_capabilities.append("CAP_EVERYTHING"),
        lambda c: c.linux.resources.__setattr__("cpuset_cpus", "0;reboot"),
        lambda c: c.linux.resources.__setattr__("oom_score_adj", -5000),
        lambda c: c.linux.resources.unified.__setitem__("../../memory.max", "max"),
        lambda c: c.linux.security_context.__setattr__("privileged", True),
        lambda c: c.linux.security_context.namespace_options.__setattr__("pid", pb.NODE),
        lambda c: c.__setattr__("stop_signal", 77777),
        lambda c: c.labels.__setitem__("x", "y" * 600_000),
        lambda c: c.annotations.__setitem__("run.oci.handler", "x"),
    ],
)
def test_what_no_container_may_be_is_refused_in_time(change: Callable[[Any], None], shared: Client) -> None:
    """cve_2024_40635 (IDs that overflow) among them; nothing is left of the attempt."""
    sandbox = run(shared)
    with refused(_REFUSED):
        create(shared, sandbox, _changed(change))
    filter_ = pb.ContainerFilter(pod_sandbox_id=sandbox)
    assert not shared.ListContainers(pb.ListContainersRequest(filter=filter_)).containers
    remove(shared, sandbox)


@pytest.mark.parametrize("host", ["a b", "a\nb", "x" * 300, "a;b\0"])
def test_words_of_a_pods_files_are_single_words(host: str, shared: Client) -> None:
    with refused(_REFUSED):
        run(shared, pod(hostname=host, options=_POD))
    with refused(_REFUSED):
        run(shared, pod(dns_config=pb.DNSConfig(searches=[host])))
    with refused(_REFUSED):
        run(shared, pod(dns_config=pb.DNSConfig(servers=[host])))


# What a container is given


def test_a_container_has_nothing_of_the_daemons_cve_2024_21626_2016_9962(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its descriptors, of which it has many, nor its environment, nor a right that it may inherit."""
    monkeypatch.setenv("ORLOP_TEST_CANARY", "canary-of-the-daemon")
    with temporary_node() as node, daemon(node) as running:
        clients = [Client(running.socket) for _ in range(20)]
        for client in clients:
            client.Version(pb.VersionRequest())
        client = clients[0]
        sandbox = run(client)
        identifier = started(client, sandbox, box("sleep 1000"))
        request = pb.ContainerStatusRequest(container_id=identifier, verbose=True)
        pid = int(client.ContainerStatus(request).info["info"].split('"pid": ')[1].split(",")[0])
        eventually(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes())
        shown = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert all(link == "/dev/null" or link.startswith("pipe:") for link in shown), shown
        inside = execute(client, identifier, "ls -l /proc/self/fd; env; cat /proc/1/environ /proc/*/environ")
        assert b"canary" not in inside.stdout + inside.stderr
        assert b"socket:" not in inside.stdout
        monitors = [
            path.parent
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if identifier.encode() in path.read_bytes()
        ]
        assert monitors
        for monitor in monitors:
            assert b"canary" not in (monitor / "environ").read_bytes()
            links = [os.readlink(path) for path in (monitor / "fd").iterdir()]
            assert not [link for link in links if link.endswith((".db", ".db-wal"))]
        remove(client, sandbox)
        for client in clients:
            client.__exit__()


def test_no_process_of_ours_listens_on_an_abstract_socket_cve_2020_15257(
    shared_node: Node, shared: Client
) -> None:
    """Containers with the machine's network could connect to it, whatever its owner."""
    sandbox = run(shared)
    started(shared, sandbox, box("sleep 1000"))
    names = [
        line.split()[7]
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]
        if len(line.split()) > 7
    ]
    assert any(name.startswith(shared_node.state) for name in names), "the socket's own name is there"
    assert not [
        name for name in names if name.startswith("@") and ("orlop" in name or shared_node.identity in name)
    ]
    inodes = {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines() if " @" in line}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if shared_node.state.encode() not in (process / "cmdline").read_bytes():
                continue
            links = [os.readlink(path) for path in (process / "fd").iterdir()]
        except OSError:
            continue
        assert not [link for link in links if link.removeprefix("socket:[").rstrip("]") in inodes], process
    remove(shared, sandbox)


def test_files_of_a_pod_are_bounded_cve_2020_8557(shared_node: Node, shared: Client) -> None:
    """Whoever is root in a container writes into them: the machine's /run is not filled by that."""
    sandbox = run(shared)
    identifier = started(shared, sandbox, box("sleep 1000"))
    for name in ("hosts", "resolv.conf", "hostname"):
        done = execute(shared, identifier, f"dd if=/dev/zero of=/etc/{name} bs=1M count=64 2>&1")
        assert b"No space" in done.stdout
    used = os.statvfs(shared_node.in_state("namespaces", sandbox, "etc"))
    assert used.f_blocks * used.f_frsize == limits.POD_FILES
    remove(shared, sandbox)
    again = run(shared)  # another pod has room
    assert execute(shared, started(shared, again), "test -s /etc/hosts").exit_code == 0
    remove(shared, again)


def test_without_root_added_capabilities_are_not_effective_cve_2018_1000400(shared: Client) -> None:
    config = box("sleep 1000")
    config.linux.security_context.run_as_user.value = 1000
    config.linux.security_context.capabilities.add_capabilities.append("CHOWN")
    sandbox = run(shared)
    identifier = start(shared, create(shared, sandbox, config))
    sets = (
        execute(shared, identifier, "grep -E 'CapEff|CapAmb|CapInh' /proc/self/status")
        .stdout.decode()
        .split()
    )
    assert set(sets[1::2]) == {"0" * 16}
    remove(shared, sandbox)


def test_the_primary_group_is_among_the_supplementary_ones_cve_2022_2995_2023_25173(shared: Client) -> None:
    config = box("sleep 1000")
    config.linux.security_context.run_as_user.value = 1000
    config.linux.security_context.run_as_group.value = 7
    sandbox = run(shared)
    identifier = start(shared, create(shared, sandbox, config))
    groups = execute(shared, identifier, "grep Groups: /proc/self/status").stdout.decode().split()[1:]
    assert groups == ["7"]
    remove(shared, sandbox)


def test_the_monitor_is_not_in_the_containers_limits_cve_2019_14891(shared: Client) -> None:
    """A container that uses up its memory takes its own processes with it, and its end is told as that."""
    config = box("x=a; while :; do x=$x$x; done")
    config.linux.resources.memory_limit_in_bytes = 16 * limits.MIB
    sandbox = run(shared)
    identifier = start(shared, create(shared, sandbox, config))
    eventually(lambda: status(shared, identifier).state == pb.CONTAINER_EXITED)
    assert (status(shared, identifier).reason, status(shared, identifier).exit_code) == ("OOMKilled", 137)
    remove(shared, sandbox)


def test_a_mount_over_proc_opens_nothing_cve_2019_16884_2023_27561_2025_31133(
    shared: Client, tmp_path: Path
) -> None:
    """A volume at /proc, or one whose folders are links into /proc, is refused or harmless."""
    (tmp_path / "sys").symlink_to("/proc/self/root")
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    for place in ("/proc", "/proc/sys", "/sys"):
        sandbox = run(shared)
        config = box("sleep 1000")
        config.mounts.add(container_path=place, host_path=str(tmp_path))
        try:
            identifier = start(shared, create(shared, sandbox, config))
        except grpc.RpcError as error:
            assert error.code() != grpc.StatusCode.INTERNAL, error
        else:
            with contextlib.suppress(grpc.RpcError):  # the runtime cannot do without /proc
                execute(shared, identifier, f"echo '{before.strip()}' > /proc/sys/kernel/core_pattern")
            assert status(shared, identifier).mounts
        remove(shared, sandbox)
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


def test_a_shared_volume_whose_links_change_gives_no_place_outside_cve_2021_30465_2024_45310(
    shared: Client, tmp_path: Path
) -> None:
    """One container swaps a folder of a volume for a link while others are mounted below it."""
    volume, prey = tmp_path / "volume", tmp_path / "prey"
    volume.mkdir()
    prey.mkdir()
    (volume / "inner").mkdir()
    sandbox = run(shared)
    link = f"ln -s {prey} l; mv -T l inner 2>/dev/null || mv inner o$RANDOM"
    swap = f"cd /v; while :; do {link}; mkdir -p inner; done"
    attacker = box(swap, name="attacker")
    attacker.mounts.add(container_path="/v", host_path=str(volume))
    started(shared, sandbox, attacker)
    for attempt in range(8):
        victim = box("touch /v/inner/deep/seen", name=f"v{attempt}")
        victim.mounts.add(container_path="/v", host_path=str(volume))
        victim.mounts.add(container_path="/v/inner/deep", host_path=str(tmp_path / "volume"))
        try:
            start(shared, create(shared, sandbox, victim))
        except grpc.RpcError as error:
            assert error.code() != grpc.StatusCode.INTERNAL, error
    remove(shared, sandbox)
    assert os.listdir(prey) == []


def test_processes_of_a_container_are_bounded_where_nobody_said_so(shared_node: Node, shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox, box("sleep 1000"))
    request = pb.ContainerStatusRequest(container_id=identifier, verbose=True)
    assert f'"limit": {limits.PIDS_PER_CONTAINER}' in shared.ContainerStatus(request).info["info"]
    remove(shared, sandbox)


# What a pod's author can use up


def test_annotations_of_many_pods_do_not_end_the_lists(shared: Client) -> None:
    """As large as the API server lets them be: a list of them all would be no message."""
    made = [run(shared, pod(annotations={"big": "x" * 250_000, "hash": "y"})) for _ in range(80)]
    listed = {item.id: item for item in shared.ListPodSandbox(pb.ListPodSandboxRequest()).items}
    assert set(made) <= set(listed)
    assert all(listed[each].annotations["hash"] == "y" for each in made)
    told = [
        item.id
        for part in shared.StreamPodSandboxes(pb.StreamPodSandboxesRequest())
        for item in part.pod_sandboxes
    ]
    assert set(made) <= set(told)
    one = shared.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=made[0])).status
    assert len(one.annotations["big"]) == 250_000
    for each in made:
        remove(shared, each)


def test_words_beyond_their_bound_are_refused(shared: Client) -> None:
    with refused(_REFUSED, "longer"):
        run(shared, pod(annotations={"x": "y" * 600_000}))
    with refused(_REFUSED, "longer"):
        run(shared, pod(labels={f"k{number}": "v" * 60 for number in range(10_000)}))


def test_an_exec_that_says_too_much_is_cut_cve_2022_1708_2022_31030(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox, box("sleep 1000"))
    done = execute(shared, identifier, "dd if=/dev/zero bs=1M count=48 2>/dev/null; echo end >&2")
    assert len(done.stdout) + len(done.stderr) <= limits.CRI_EXEC_OUTPUT
    assert done.exit_code == 0
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        execute(shared, identifier, "yes", timeout=1)
    assert b"yes" not in execute(shared, identifier, "ps | grep -v grep | grep 'yes$'").stdout
    remove(shared, sandbox)


def test_execs_that_never_end_keep_nobody_else_from_work_cve_2025_64329(serving: Daemon) -> None:
    """postStart hooks have no time limit; as many as the daemon has threads for other work."""
    with Client(serving.socket) as client:
        sandbox = run(client)
        identifier = started(client, sandbox, box("sleep 1000"))
        request = pb.ExecSyncRequest(container_id=identifier, cmd=["sleep", "1000"])
        waiting = [client.ExecSync.future(request) for _ in range(40)]
        count = "ps | grep -c '[s]leep 1000'"
        eventually(lambda: int(execute(client, identifier, count).stdout) > len(waiting))
        other = run(client)
        started(client, other, box("sleep 1000"))
        remove(client, other)
        assert not [each for each in waiting if each.done()]
        remove(client, sandbox)
        for each in waiting:  # their container has gone, and they with it
            each.exception(timeout=30)
