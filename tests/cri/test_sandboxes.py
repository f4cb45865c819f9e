"""Pods through the interface: made, told of, listed, stopped, removed, and there again after a kill -9."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.model import ContainerConfig, SandboxConfig
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from tests.cri.requests import (
    BUSYBOX,
    box,
    ended,
    eventually,
    execute,
    pod,
    pod_status,
    refused,
    remove,
    run,
    said,
    started,
    status,
)
from tests.support.cri import Client, Daemon
from tests.support.node import opened

pytestmark = pytest.mark.host

INVALID = grpc.StatusCode.INVALID_ARGUMENT
ALONE = pb.NamespaceOption(pid=pb.CONTAINER)


def test_a_pod_is_told_of_as_it_was_asked_for(shared: Client) -> None:
    config = pod(
        options=ALONE,
        hostname="web-0",
        labels={"app": "web", "io.kubernetes.pod.name": "web-0"},
        annotations={"note": 'verbatim: "\n\\ü', "empty": ""},
    )
    config.metadata.attempt = 3
    before = time.time_ns()
    sandbox = run(shared, config)
    found = pod_status(shared, sandbox)
    assert found.id == sandbox
    assert len(sandbox) == 64
    assert found.metadata == config.metadata
    assert found.state == pb.SANDBOX_READY
    assert dict(found.labels) == dict(config.labels)
    assert dict(found.annotations) == dict(config.annotations)
    assert before - 10**6 < found.created_at < time.time_ns()
    assert found.linux.namespaces.options == ALONE
    assert found.network.ip.startswith("10.90.")
    item = next(i for i in shared.ListPodSandbox(pb.ListPodSandboxRequest()).items if i.id == sandbox)
    assert (item.metadata, item.created_at) == (found.metadata, found.created_at)
    assert (dict(item.labels), dict(item.annotations)) == (dict(found.labels), dict(found.annotations))
    remove(shared, sandbox)


def test_a_verbose_status_tells_more_and_another_does_not(shared: Client) -> None:
    sandbox = run(shared)
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
    assert not shared.PodSandboxStatus(request).info
    request.verbose = True
    assert "cgroup" in shared.PodSandboxStatus(request).info["info"]
    remove(shared, sandbox)


def test_scripts_find_the_network_namespace_and_the_process_of_a_pod(shared: Client) -> None:
    """As they do with other runtimes: .info.runtimeSpec.linux.namespaces, .info.pid."""
    sandbox = run(shared, pod(options=pb.NamespaceOption(network=pb.POD, pid=pb.POD)))
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
    told = json.loads(shared.PodSandboxStatus(request).info["info"])
    found = {each["type"]: each["path"] for each in told["runtimeSpec"]["linux"]["namespaces"]}
    assert found.keys() == {"network", "ipc", "uts", "pid"}
    [address] = pod_status(shared, sandbox).network.ip.split()
    argv = ["nsenter", f"--net={found['network']}", "ip", "-o", "addr"]
    assert address in subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert os.path.samefile(f"/proc/{told['pid']}/ns/pid", found["pid"])
    remove(shared, sandbox)


def test_a_pods_status_tells_of_its_containers_too(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox)
    answer = shared.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox))
    assert answer.timestamp > answer.status.created_at
    assert [each.id for each in answer.containers_statuses] == [identifier]
    assert answer.containers_statuses[0] == status(shared, identifier)
    remove(shared, sandbox)


def test_another_attempt_is_another_pod(shared: Client) -> None:
    config = pod()
    first = run(shared, config)
    assert run(shared, config) == first
    config.metadata.attempt = 1
    second = run(shared, config)
    assert second != first
    remove(shared, first)
    remove(shared, second)


def test_a_stopped_pod_is_not_ready_and_has_no_running_containers(shared: Client) -> None:
    sandbox = run(shared, pod(options=ALONE))
    identifier = started(shared, sandbox)
    stop = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox)
    for _ in range(2):
        shared.StopPodSandbox(stop)
        assert pod_status(shared, sandbox).state == pb.SANDBOX_NOTREADY
        assert status(shared, identifier).state == pb.CONTAINER_EXITED
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "not ready"):
        request = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=box(name="late"))
        shared.CreateContainer(request)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "not ready"):
        shared.PortForward(pb.PortForwardRequest(pod_sandbox_id=sandbox, port=[80]))
    shared.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox))


def test_a_running_pod_is_removed_with_its_containers(shared: Client) -> None:
    sandbox = run(shared, pod(options=ALONE))
    identifier = started(shared, sandbox)
    for _ in range(2):
        shared.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
        with refused(grpc.StatusCode.NOT_FOUND):
            pod_status(shared, sandbox)
        with refused(grpc.StatusCode.NOT_FOUND):
            status(shared, identifier)


def test_what_is_not_there_is_stopped_and_removed_already(shared: Client) -> None:
    for identifier in ("f" * 64, "0123456789ab", "no such pod", "../../etc"):
        shared.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=identifier))
        shared.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=identifier))
        with refused(grpc.StatusCode.NOT_FOUND):
            pod_status(shared, identifier)


def test_an_id_may_be_cut_short_but_a_name_is_none(shared: Client) -> None:
    config = pod()
    sandbox = run(shared, config)
    assert pod_status(shared, sandbox[:13]).id == sandbox
    with refused(grpc.StatusCode.NOT_FOUND):
        pod_status(shared, config.metadata.name)
    shared.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=config.metadata.name))
    assert pod_status(shared, sandbox).state == pb.SANDBOX_READY
    remove(shared, sandbox[:13])
    with refused(grpc.StatusCode.NOT_FOUND):
        pod_status(shared, sandbox)


def test_lists_hold_what_passes_every_part_of_the_filter(shared: Client) -> None:
    one, two = run(shared, pod(labels={"app": "a", "tier": "x"})), run(shared, pod(labels={"app": "a"}))
    shared.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=two))

    def found(**fields: object) -> set[str]:
        wanted = pb.PodSandboxFilter(**fields)  # type: ignore[arg-type]
        items = shared.ListPodSandbox(pb.ListPodSandboxRequest(filter=wanted)).items
        return {item.id for item in items} & {one, two}

    ready = pb.PodSandboxStateValue(state=pb.SANDBOX_READY)
    assert found() == {one, two}
    assert found(id=one) == {one}
    assert found(id=one[:8]) == {one}
    assert found(id="f" * 64) == set()
    assert found(state=ready) == {one}
    assert found(state=pb.PodSandboxStateValue(state=pb.SANDBOX_NOTREADY)) == {two}
    assert found(label_selector={"app": "a"}) == {one, two}
    assert found(label_selector={"app": "a", "tier": "x"}) == {one}
    assert found(label_selector={"app": "a"}, state=ready, id=two) == set()
    remove(shared, one)
    remove(shared, two)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metadata": None}, ["metadata"]),
        ({"metadata": pb.PodSandboxMetadata(uid="u", namespace="n")}, ["metadata.name"]),
        ({"metadata": pb.PodSandboxMetadata(name="n", namespace="n")}, ["metadata.uid"]),
        ({"metadata": pb.PodSandboxMetadata(name="n", uid="u")}, ["metadata.namespace"]),
        ({"log_directory": "relative/path"}, ["log_directory"]),
        ({"log_directory": "/var/log/../../etc"}, ["log_directory"]),
        ({"options": pb.NamespaceOption(network=pb.CONTAINER)}, ["network namespace"]),
        ({"options": pb.NamespaceOption(pid=pb.TARGET)}, ["PID namespace"]),
        ({"options": pb.NamespaceOption(userns_options=pb.UserNamespace(mode=pb.POD))}, ["user namespace"]),
        (
            {
                "options": pb.NamespaceOption(
                    userns_options=pb.UserNamespace(mode=pb.NODE, uids=[pb.IDMapping(length=1)])
                )
            },
            ["user namespace"],
        ),
        (
            {"options": ALONE, "port_mappings": [pb.PortMapping(host_port=70000, container_port=80)]},
            ["port 70000"],
        ),
    ],
)
def test_a_pod_that_cannot_be_is_refused(shared: Client, change: dict[str, object], words: list[str]) -> None:
    before = len(shared.ListPodSandbox(pb.ListPodSandboxRequest()).items)
    with refused(INVALID, *words):
        run(shared, pod(**change))  # type: ignore[arg-type]
    assert len(shared.ListPodSandbox(pb.ListPodSandboxRequest()).items) == before


def test_sysctls_that_reach_beyond_the_pod_are_refused(shared: Client) -> None:
    config = pod(options=ALONE)
    config.linux.sysctls["kernel.core_pattern"] = "|/bin/sh"  # CVE-2022-0811's class
    with refused(INVALID, "kernel.core_pattern"):
        run(shared, config)


def test_a_runtime_handler_that_is_not_configured_is_refused(shared: Client) -> None:
    with refused(INVALID, "nosuch"):
        run(shared, runtime_handler="nosuch")


def test_a_runtime_handler_is_told_of(shared: Client) -> None:
    names = [handler.name for handler in shared.Status(pb.StatusRequest()).runtime_handlers]
    assert "" in names
    other = next(name for name in names if name)
    sandbox = run(shared, runtime_handler=other)
    assert pod_status(shared, sandbox).runtime_handler == other
    remove(shared, sandbox)


def test_the_machines_network_takes_no_host_ports(shared: Client) -> None:
    """The kubelet sends them, although the machine's network has the ports anyway."""
    sandbox = run(shared, pod(port_mappings=[pb.PortMapping(host_port=80, container_port=80)]))
    assert pod_status(shared, sandbox).network.ip == ""
    assert pod_status(shared, sandbox).linux.namespaces.options.network == pb.NODE
    remove(shared, sandbox)


def test_a_pod_has_the_host_name_and_name_servers_that_it_was_given(shared: Client) -> None:
    dns = pb.DNSConfig(servers=["192.0.2.53"], searches=["svc.example"], options=["ndots:5"])
    config = pod(options=ALONE, hostname="db-1", dns_config=dns)
    text = said(shared, "hostname; cat /etc/resolv.conf", config)
    assert text.splitlines()[0] == "db-1"
    assert {"nameserver 192.0.2.53", "search svc.example", "options ndots:5"} <= set(text.splitlines())


def test_sysctls_of_the_pod_are_set(shared: Client) -> None:
    config = pod(options=ALONE)
    config.linux.sysctls["net.ipv4.ip_unprivileged_port_start"] = "123"
    assert said(shared, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", config) == "123"


def test_pods_of_others_are_none_of_the_kubelets_business(shared: Client, shared_node: Node) -> None:
    """The kubelet removes whatever it does not know: it must not see what `orlop run` made."""
    with opened(shared_node) as pods:
        other = run_sandbox(pods, SandboxConfig(name="mine", uid="1", network="none"))
        try:
            items = shared.ListPodSandbox(pb.ListPodSandboxRequest()).items
            assert other.id not in {item.id for item in items}
            with refused(grpc.StatusCode.NOT_FOUND):
                pod_status(shared, other.id)
            shared.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=other.id))
            shared.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=other.id))
            assert pods.sandbox(other.id).state == "ready"
        finally:
            remove_sandbox(pods, other.id)


def test_the_ends_of_others_containers_are_no_events(shared: Client, shared_node: Node) -> None:
    events = shared.GetContainerEvents(pb.GetEventsRequest(), timeout=30)
    kubelets = run(shared)
    assert next(events).container_id == kubelets  # created: we are heard
    with opened(shared_node) as pods:
        theirs = run_container(pods, SandboxConfig(name="job", uid="1", network="none"))
        ours = started(shared, kubelets, box("exit 0"))
        told = {next(events).container_id for _ in range(4)}  # the pod's start, and all of the container
        assert told == {kubelets, ours}
        remove_sandbox(pods, theirs)
    events.cancel()
    remove(shared, kubelets)


def run_container(pods: Pods, config: SandboxConfig) -> str:
    """A pod of the command line's, with a container that has ended; the pod's ID."""
    sandbox = run_sandbox(pods, config)
    made = create_container(pods, sandbox.id, ContainerConfig("main", BUSYBOX, command=("true",)))
    start_container(pods, made.id)
    eventually(lambda: pods.container(made.id).state == "exited")
    return sandbox.id


def test_the_command_line_sees_the_kubelets_pods(shared: Client, shared_node: Node) -> None:
    config = pod()
    sandbox = run(shared, config)
    with opened(shared_node) as pods:
        assert pods.sandbox(config.metadata.name).id == sandbox
    remove(shared, sandbox)


def test_a_daemon_killed_and_started_again_knows_everything(serving: Daemon) -> None:
    config = pod(options=ALONE, labels={"app": "web"}, annotations={"a": "b"})
    with Client(serving.socket) as client:
        sandbox = run(client, config)
        lasting = started(client, sandbox, box(name="lasting"))
        created = client.CreateContainer(
            pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=box(name="created"))
        ).container_id
        ending = started(client, sandbox, box("while [ ! -e /go ]; do sleep 0.05; done; exit 5", "ending"))
        before = pod_status(client, sandbox), status(client, lasting)
        root = f"/proc/{_pid(client, ending)}/root"
    serving.kill()
    Path(root, "go").touch()  # it ends while nobody looks
    time.sleep(0.3)
    serving.start()
    with Client(serving.socket) as client:
        assert (pod_status(client, sandbox), status(client, lasting)) == before
        assert execute(client, lasting, "echo here").stdout == b"here\n"
        assert status(client, created).state == pb.CONTAINER_CREATED
        assert ended(client, ending).exit_code == 5
        assert run(client, config) == sandbox
        remove(client, sandbox)


def _pid(client: Client, identifier: str) -> int:
    import json

    request = pb.ContainerStatusRequest(container_id=identifier, verbose=True)
    return int(json.loads(client.ContainerStatus(request).info["info"])["pid"])
