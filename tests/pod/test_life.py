"""A pod from its first namespace to its last mount, with the real runtime."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from dataclasses import replace

import pytest

from orlop.kit.errors import Conflict, InvalidInput, NotFound
from orlop.kit.node import Node
from orlop.network.model import PortMapping
from orlop.pod import namespaces
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import ContainerConfig
from orlop.pod.remove_container import remove_container
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run import run_once
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.pod.wait_container import wait_container
from orlop.runtime.model import Mount, Resources, Security
from tests.pod.make import eventually, listening, output, pod, shell, sleeper, started
from tests.support.images import busybox_image
from tests.support.node import left_of_pods, mounts_below, opened, put_image, temporary_node

pytestmark = pytest.mark.host


def test_a_container_runs_and_its_end_is_known(pods: Pods) -> None:
    container = started(pods, shell("echo hello; exit 3"))
    ended = wait_container(pods, container.id, 20)
    assert (ended.state, ended.exit_code, ended.reason) == ("exited", 3, "Error")
    assert ended.finished >= ended.started >= ended.created > 0
    assert output(ended) == "hello\n"
    good = wait_container(pods, started(pods, shell("true")).id, 20)
    assert (good.exit_code, good.reason) == (0, "Completed")


def test_everything_asked_twice_is_harmless(pods: Pods) -> None:
    config = pod()
    sandbox = run_sandbox(pods, config)
    assert run_sandbox(pods, config).id == sandbox.id
    container = create_container(pods, sandbox.id, sleeper())
    assert create_container(pods, sandbox.id, sleeper()).id == container.id
    first = start_container(pods, container.id)
    assert start_container(pods, container.id).pid == first.pid
    eventually(lambda: listening(first))
    for _ in range(2):
        stop_container(pods, container.id)
    assert pods.container(container.id).exit_code == 7
    with pytest.raises(Conflict):
        start_container(pods, container.id)
    for _ in range(2):
        remove_container(pods, container.id)
    for _ in range(2):
        stop_sandbox(pods, sandbox.id)
    assert pods.sandbox(sandbox.id).state == "notready"
    for _ in range(2):
        remove_sandbox(pods, sandbox.id)
    with pytest.raises(NotFound):
        pods.sandbox(sandbox.id)


def test_a_pods_containers_share_its_namespaces_files_and_memory(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(hostname="deck", sysctls={"kernel.shm_rmid_forced": "1"}))
    first = started(pods, sleeper("first"), sandbox)
    second = started(pods, sleeper("second"), sandbox)
    for kind in ("net", "ipc", "uts"):
        inode = os.stat(os.path.join(namespaces.folder(pods.node, sandbox.id), kind)).st_ino
        assert os.stat(f"/proc/{first.pid}/ns/{kind}").st_ino == inode
        assert os.stat(f"/proc/{second.pid}/ns/{kind}").st_ino == inode
    assert os.stat(f"/proc/{first.pid}/ns/pid").st_ino != os.stat(f"/proc/{second.pid}/ns/pid").st_ino
    exec_sync(pods, first.id, ("sh", "-c", "echo shared > /dev/shm/x"))
    assert exec_sync(pods, second.id, ("cat", "/dev/shm/x")).stdout == b"shared\n"
    script = "hostname; cat /etc/hostname /proc/sys/kernel/shm_rmid_forced; grep deck /etc/hosts; ip link"
    said = exec_sync(pods, second.id, ("sh", "-c", script)).stdout.decode()
    assert said.startswith("deck\ndeck\n1\n127.0.1.1\tdeck\n")
    assert "LOOPBACK,UP" in said


def test_a_shared_pid_namespace_has_an_init_and_goes_with_the_pod(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(shared_pid=True))
    first = started(pods, sleeper("first"), sandbox)
    second = started(pods, sleeper("second"), sandbox)
    said = exec_sync(pods, first.id, ("ps",)).stdout.decode()
    assert "catatonit" in said.splitlines()[1]
    assert said.count("trap 'exit 7' TERM") >= 2
    stop_sandbox(pods, sandbox.id, 5)
    assert pods.container(second.id).exit_code == 7


def test_the_hosts_namespaces_are_shared_where_asked_for(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(network="host", host_ipc=True, host_pid=True))
    container = started(pods, sleeper(), sandbox)
    for kind in ("net", "ipc", "uts", "pid"):
        assert os.stat(f"/proc/{container.pid}/ns/{kind}").st_ino == os.stat(f"/proc/self/ns/{kind}").st_ino
    assert exec_sync(pods, container.id, ("hostname",)).stdout.decode().strip() == os.uname().nodename


def test_a_stop_signal_grace_and_then_a_kill(pods: Pods) -> None:
    deaf = started(pods, shell("trap '' TERM; while :; do sleep 1; done"))
    stop_container(pods, deaf.id, 0.3)
    assert pods.container(deaf.id).exit_code == 137
    own = started(
        pods, shell("trap 'exit 9' USR1; while :; do sleep 1000 & wait $!; done", stop_signal="USR1")
    )
    eventually(lambda: listening(own, signal.SIGUSR1))
    stop_container(pods, own.id, 10)
    assert pods.container(own.id).exit_code == 9


def test_a_forced_removal_does_not_wait_for_the_grace_of_a_stop(pods: Pods) -> None:
    deaf = started(pods, shell("trap '' TERM; while :; do sleep 1; done"))
    stopping = threading.Thread(target=stop_container, args=(pods, deaf.id, 600))
    stopping.start()
    remove_container(pods, deaf.id, force=True)
    stopping.join(30)
    assert not stopping.is_alive()
    with pytest.raises(NotFound):
        pods.container(deaf.id)


def test_pins_are_in_a_private_mount_that_goes_with_the_last_pod(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    place = node.in_state("namespaces")
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        (line,) = [line for line in stream if line.split()[4] == place]
    assert "shared:" not in line
    remove_sandbox(pods, sandbox.id)
    assert mounts_below(node) == []
    assert not os.path.exists(place)


def test_a_running_container_is_only_removed_by_force(pods: Pods) -> None:
    container = started(pods, sleeper())
    with pytest.raises(Conflict, match="runs"):
        remove_container(pods, container.id)
    remove_container(pods, container.id, force=True)
    with pytest.raises(NotFound):
        pods.container(container.id)


def test_what_the_image_says_is_what_runs(node: Node, pods: Pods) -> None:
    config = {
        "Entrypoint": ["sh", "-c"],
        "Cmd": ["pwd; id -un; echo $HOME $A $HOSTNAME; touch /data/x && ls -ld /data/x"],
        "Env": ["A=1"],
        "User": "nobody",
        "WorkingDir": "/made/here",
        "Volumes": {"/tmp/../tmp": {}, "/data": {}},
    }
    put_image(node, "docker.io/library/talk:latest", busybox_image(config))
    asked = ContainerConfig("main", "talk", security=Security(user="0", read_only_root=True))
    ended = wait_container(pods, started(pods, asked, run_sandbox(pods, pod(hostname="h"))).id, 20)
    assert output(ended).startswith("/made/here\nroot\n/root 1 h\n-rw")


def test_an_image_that_is_not_there_is_named_with_the_way_to_get_it(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    with pytest.raises(NotFound) as failure:
        create_container(pods, sandbox.id, ContainerConfig("x", "nothing:1"))
    assert failure.value.hint == "orlop image pull nothing:1"


def mounts_of_pods(node: Node) -> list[str]:
    return [line for line in left_of_pods(node) if line.startswith("mount ")]


def test_a_container_that_cannot_be_made_leaves_nothing(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    before = mounts_of_pods(node)
    with pytest.raises(Exception, match="no-such-program"):
        start_container(pods, create_container(pods, sandbox.id, shell("", command=("/no-such-program",))).id)
    bad = shell("true", "bad", mounts=(Mount("/x", "/no/such/source"),))
    with pytest.raises(NotFound):
        create_container(pods, sandbox.id, bad)
    assert [c.config.name for c in pods.containers(state="running")] == []
    for container in pods.containers():
        remove_container(pods, container.id)
    assert mounts_of_pods(node) == before
    with pytest.raises(InvalidInput):
        run_sandbox(pods, pod(sysctls={"kernel.panic": "1"}))
    assert len(pods.sandboxes()) == 1


def test_a_stopped_pod_keeps_its_containers_ends_but_nothing_of_the_machine(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    containers = [started(pods, sleeper(f"c{i}"), sandbox) for i in range(3)]
    stop_sandbox(pods, sandbox.id, 5)
    assert [pods.container(c.id).exit_code for c in containers] == [7, 7, 7]
    assert not os.path.exists(namespaces.folder(node, sandbox.id))
    with pytest.raises(Conflict, match="not ready"):
        create_container(pods, sandbox.id, sleeper("late"))
    remove_sandbox(pods, sandbox.id)
    assert left_of_pods(node) == []
    assert os.listdir(node.in_state("locks", "pods")) == ["gate"]


def test_a_network_gives_addresses_hosts_and_ports_and_takes_them_back(node: Node, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod("netted", network="pod"))
    (address,) = sandbox.addresses.ips
    container = started(pods, sleeper(), sandbox)
    said = exec_sync(pods, container.id, ("sh", "-c", "ip addr show eth0; cat /etc/hosts")).stdout.decode()
    assert f"inet {address}/" in said
    assert f"{address}\tnetted" in said
    other = run_sandbox(pods, pod(network="pod"))
    beside = started(pods, sleeper(security=Security(add_capabilities=("NET_RAW",))), other)
    assert exec_sync(pods, beside.id, ("ping", "-c", "1", "-W", "5", address)).exit_code == 0
    stop_sandbox(pods, sandbox.id, 0)
    assert pods.network.pending()[0].id == other.id
    remove_sandbox(pods, sandbox.id)
    remove_sandbox(pods, other.id)
    assert pods.network.pending() == []


def test_eight_threads_make_and_remove_pods_at_once(node: Node, pods: Pods) -> None:
    failures: list[BaseException] = []

    def life(number: int) -> None:
        try:
            for turn in range(2):
                sandbox = run_sandbox(pods, pod(f"t{number}-{turn}", network="pod" if turn else "none"))
                container = started(pods, shell("echo hi"), sandbox)
                assert wait_container(pods, container.id, 30).exit_code == 0
                remove_sandbox(pods, sandbox.id)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=life, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert pods.sandboxes() == []


def test_requests_for_the_same_pod_at_the_same_time_join(pods: Pods) -> None:
    config = replace(pod(), network="pod")
    made: list[tuple[str, str]] = []

    def ask() -> None:
        with opened(pods.node) as own:
            sandbox = run_sandbox(own, config)
            made.append((sandbox.id, create_container(own, sandbox.id, sleeper()).id))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1


def test_running_out_of_memory_is_reported_as_such(pods: Pods) -> None:
    eat = shell("tail /dev/zero", resources=Resources(memory_limit=16 * 1024 * 1024))
    ended = wait_container(pods, started(pods, eat).id, 60)
    assert ended.reason == "OOMKilled"
    assert ended.exit_code != 0


def test_limits_of_the_pod_as_a_whole_are_set_and_go_with_it(pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod(resources=Resources(memory_limit=32 * 1024 * 1024, pids=50)))
    eat = shell("tail /dev/zero")
    ended = wait_container(pods, started(pods, eat, sandbox).id, 60)
    assert ended.exit_code != 0
    remove_sandbox(pods, sandbox.id)


def test_runc_by_configuration_gives_the_same_life() -> None:
    with temporary_node(config='[runtime]\npath = "runc"\n') as node, opened(node) as pods:
        sandbox = run_sandbox(pods, pod(shared_pid=True, network="pod"))
        container = started(pods, sleeper(), sandbox)
        assert exec_sync(pods, container.id, ("echo", "hi")).stdout == b"hi\n"
        stop_container(pods, container.id, 10)
        assert pods.container(container.id).exit_code == 7
        brief = run_once(pods, pod("brief"), shell("echo out; exit 4", remove=True), attached=True)
        assert brief.wait(20).exit_code == 4
        brief.remove()
        remove_sandbox(pods, sandbox.id)


def test_a_host_port_leads_into_the_pod_and_is_free_again_afterwards(node: Node, pods: Pods) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = pod(network="pod", ports=(PortMapping(port, 80),))
    sandbox = run_sandbox(pods, config)
    started(pods, shell("mkdir /w; echo aboard > /w/index.html; exec httpd -f -p 80 -h /w"), sandbox)

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as client:
            client.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            client.settimeout(5)
            return b"aboard" in b"".join(iter(lambda: client.recv(4096), b""))
        return False

    eventually(answers)
    with pytest.raises(Conflict):
        run_sandbox(pods, replace(config, name="other", uid="other"))
    assert [s.id for s in pods.sandboxes()] == [sandbox.id]
    remove_sandbox(pods, sandbox.id)
    assert not answers()
