"""The daemon killed, ended or replaced at named steps of its requests (docs/serve.md): whoever asks again
joins or gets the same, what went on without the daemon is waited for, and nothing is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import kernel
from orlop.kit.node import Node, boot_id
from tests.cri.gates import Gates, gated
from tests.cri.requests import (
    PATIENT,
    box,
    create,
    ended,
    eventually,
    execute,
    listening,
    pod,
    pod_status,
    remove,
    run,
    start,
    started,
    status,
)
from tests.cri.soak.kubelet import Figures, Kubelet
from tests.cri.soak.life import written
from tests.cri.streaming.raw import exec_streams
from tests.image.faulty import Faulty, Handler, faulty
from tests.support.cri import Client, Daemon, daemon
from tests.support.images import busybox_image
from tests.support.node import mounts_below, processes, temporary_node

pytestmark = pytest.mark.host

ALONE = pb.NamespaceOption(pid=pb.CONTAINER)
SHARED = pb.NamespaceOption(pid=pb.POD)


def _named(value: object) -> str:
    if isinstance(value, pb.NamespaceOption):
        return "shared" if value.pid == pb.POD else "alone"
    return ("late" if value else "at-once") if isinstance(value, bool) else str(value)


class Stand:
    """A node whose network and runtime wait where they are told, and its daemon."""

    def __init__(self, node: Node, running: Daemon, gates: Gates) -> None:
        self.node, self.running, self.gates = node, running, gates

    def ask(self, work: Callable[[Client], Any], seconds: float = 60.0) -> Any:
        """As the kubelet: again, on a new connection, until there is an answer."""
        deadline = time.monotonic() + seconds
        while True:
            with Client(self.running.socket) as client:
                try:
                    return work(client)
                except grpc.RpcError as error:
                    gone = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
                    if not gone or time.monotonic() > deadline:
                        raise
            time.sleep(0.05)

    def killed_at(self, step: str, work: Callable[[Client], Any], *, late: bool) -> Any:
        """Kill the daemon when `work` is at this step, start it again, and let the work be repeated.

        `late`: what was under way, now nobody's child, goes on only when the next daemon is at work.
        """
        gates, running = self.gates, self.running
        gates.arm(step)
        with ThreadPoolExecutor(1) as pool:
            answer: Future[Any] = pool.submit(self.ask, work)
            gates.reached(step)
            running.kill()
            if not late:
                gates.release(step)
            running.start()
            if late:
                time.sleep(0.3)
                assert not answer.done() or answer.exception() is None
                gates.release(step)
            return answer.result(60)

    def is_empty(self) -> None:
        """Nothing is left of any pod."""
        eventually(lambda: not self.remains())
        assert self.remains() == []

    def remains(self) -> list[str]:
        node = self.node
        found = [str(path) for path in self.gates.leases.iterdir()]
        for path in ("namespaces", "pods", "bundles", "exits", "locks/pods", "runtime/default", "mounts"):
            found += [f"{path}/{name}" for name in _listed(node.in_state(path)) if name != "gate"]
        found += [f"network {name}" for name in _listed(node.in_root("network", "attachments"))]
        found += [f"rootfs {name}" for name in _listed(node.in_root("rootfs"))]
        found += [line for pid, line in processes(node) if pid != self.running.pid]
        kept = (node.in_state("namespaces"), node.in_state("layers"))  # which the node keeps for the next pod
        found += [path for path in mounts_below(node) if not path.startswith(kept)]
        for name, tables in (("pods.db", ("sandboxes", "containers")), ("store.db", ("rootfs", "volumes"))):
            with contextlib.closing(sqlite3.connect(node.in_root(name))) as database:
                for table in tables:
                    found += [f"{table} {row[0]}" for row in database.execute(f"SELECT * FROM {table}")]
        return found


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with gated() as gates, temporary_node(config=gates.config) as node, daemon(node) as running:
        yield Stand(node, running, gates)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


LATE = pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])


@pytest.mark.parametrize(
    ("step", "options", "late"),
    [
        ("ADD-begin", ALONE, True),
        ("ADD-end", ALONE, False),
        ("ADD-end", ALONE, True),
        ("create-begin", SHARED, False),
        ("create-begin", SHARED, True),
        ("create-end", SHARED, True),
        ("start-begin", SHARED, True),
        ("start-end", SHARED, False),
    ],
    ids=_named,
)
def test_a_pod_whose_making_was_killed_is_made_once(
    stand: Stand, step: str, options: pb.NamespaceOption, late: bool
) -> None:
    config = pod(options=options)
    sandbox = stand.killed_at(step, lambda client: run(client, config), late=late)
    with Client(stand.running.socket) as client:
        assert run(client, config) == sandbox
        assert [item.id for item in client.ListPodSandbox(pb.ListPodSandboxRequest()).items] == [sandbox]
        assert [path.name for path in stand.gates.leases.iterdir()] == [sandbox]
        assert ended(client, started(client, sandbox, box("exit 4"))).exit_code == 4
        remove(client, sandbox)
    stand.is_empty()


@LATE
@pytest.mark.parametrize("step", ["create-begin", "create-end"])
def test_a_container_whose_making_was_killed_is_made_once(stand: Stand, step: str, late: bool) -> None:
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
    identifier = stand.killed_at(step, lambda client: create(client, sandbox, box()), late=late)
    with Client(stand.running.socket) as client:
        assert create(client, sandbox, box()) == identifier
        found = client.ListContainers(pb.ListContainersRequest()).containers
        assert [each.id for each in found] == [identifier]
        listening(client, start(client, identifier))
        client.StopContainer(pb.StopContainerRequest(container_id=identifier, timeout=20))
        assert status(client, identifier).exit_code == 7
        remove(client, sandbox)
    stand.is_empty()


@pytest.mark.parametrize(("step", "late"), [("start-begin", True), ("start-end", False)])
def test_a_container_whose_start_was_killed_runs_once(stand: Stand, step: str, late: bool) -> None:
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
        identifier = create(client, sandbox, box(f"echo begun >> /tmp/begun; {PATIENT}"))
    stand.killed_at(step, lambda client: start(client, identifier), late=late)
    with Client(stand.running.socket) as client:
        assert status(client, identifier).state == pb.CONTAINER_RUNNING
        listening(client, identifier)
        assert execute(client, identifier, "cat /tmp/begun").stdout == b"begun\n"
        remove(client, sandbox)
    stand.is_empty()


@LATE
@pytest.mark.parametrize("step", ["start-begin", "start-end"])
def test_a_start_that_goes_on_without_the_daemon_is_seen_by_the_next(
    stand: Stand, step: str, late: bool
) -> None:
    """Nobody repeats it: the status alone must tell the truth."""
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
        identifier = create(client, sandbox, box())
        stand.gates.arm(step)
        asked = client._calls["StartContainer"].future(pb.StartContainerRequest(container_id=identifier))
        stand.gates.reached(step)
        stand.running.kill()
        assert asked.exception() is not None
    if not late:
        stand.gates.release(step)
    stand.running.start()
    with Client(stand.running.socket) as client:
        found = status(client, identifier).state
        if late:
            assert found in (pb.CONTAINER_CREATED, pb.CONTAINER_RUNNING)
            time.sleep(0.2)
            stand.gates.release(step)
        eventually(lambda: status(client, identifier).state == pb.CONTAINER_RUNNING)
        assert status(client, identifier).started_at > 0
        remove(client, sandbox)
    stand.is_empty()


@pytest.mark.parametrize(
    ("step", "running", "late"),
    [
        ("delete-begin", False, True),
        ("delete-begin", True, True),
        ("delete-end", False, False),
        ("delete-end", True, True),
    ],
)
def test_a_container_whose_removal_was_killed_is_removed(
    stand: Stand, step: str, running: bool, late: bool
) -> None:
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
        identifier = started(client, sandbox, box("exit 3" if not running else PATIENT))
        if not running:
            ended(client, identifier)
    request = pb.RemoveContainerRequest(container_id=identifier)
    stand.killed_at(step, lambda client: client.RemoveContainer(request), late=late)
    with Client(stand.running.socket) as client:
        assert list(client.ListContainers(pb.ListContainersRequest()).containers) == []
        again = started(client, sandbox, box("exit 5"))
        assert again != identifier
        assert ended(client, again).exit_code == 5
        remove(client, sandbox)
    stand.is_empty()


@pytest.mark.parametrize(("step", "late"), [("DEL-begin", True), ("DEL-end", False)])
def test_a_pod_whose_stop_was_killed_is_stopped(stand: Stand, step: str, late: bool) -> None:
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
        identifier = listening(client, started(client, sandbox))
    request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox)
    stand.killed_at(step, lambda client: client.StopPodSandbox(request), late=late)
    with Client(stand.running.socket) as client:
        assert pod_status(client, sandbox).state == pb.SANDBOX_NOTREADY
        assert status(client, identifier).exit_code == 137
        assert list(stand.gates.leases.iterdir()) == []
        remove(client, sandbox)
    stand.is_empty()


@pytest.mark.parametrize(
    ("step", "options", "late"),
    [
        ("delete-begin", ALONE, False),
        ("delete-begin", SHARED, True),
        ("delete-end", SHARED, False),
        ("DEL-begin", ALONE, True),
        ("DEL-begin", SHARED, False),
        ("DEL-end", SHARED, True),
    ],
    ids=_named,
)
def test_a_pod_whose_removal_was_killed_is_removed(
    stand: Stand, step: str, options: pb.NamespaceOption, late: bool
) -> None:
    config = pod(options=options)
    with Client(stand.running.socket) as client:
        sandbox = run(client, config)
        started(client, sandbox)
    request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox)
    stand.killed_at(step, lambda client: client.RemovePodSandbox(request), late=late)
    stand.is_empty()
    with Client(stand.running.socket) as client:
        again = run(client, config)
        assert again != sandbox
        remove(client, again)
    stand.is_empty()


@pytest.mark.parametrize("step", ["exec-begin", "exec-end", "sleep"])
def test_an_exec_under_way_goes_with_its_container(stand: Stand, step: str) -> None:
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
        identifier = listening(client, started(client, sandbox))
        command = ["sleep", "1000"] if step == "sleep" else ["true"]
        if step != "sleep":
            stand.gates.arm(step)
        request = pb.ExecSyncRequest(container_id=identifier, cmd=command)
        asked = client._calls["ExecSync"].future(request)
        if step == "sleep":
            eventually(lambda: len(_sleepers(client, identifier)) == 2)  # the container has one of its own
        else:
            stand.gates.reached(step)
        stand.running.kill()
        assert asked.exception() is not None
    if step != "sleep":
        stand.gates.release(step)
    stand.running.start()
    with Client(stand.running.socket) as client:
        assert execute(client, identifier, "echo here").stdout == b"here\n"
        remove(client, sandbox)
    stand.is_empty()


def _sleepers(client: Client, identifier: str) -> list[str]:
    processes_ = execute(client, identifier, "ps").stdout.decode().splitlines()
    return [line for line in processes_ if line.rstrip().endswith(" sleep 1000")]


def test_a_stop_whose_grace_was_cut_off_is_gone_on_with(stand: Stand) -> None:
    with Client(stand.running.socket) as client:
        sandbox = run(client, pod(options=ALONE))
        slow = "trap 'sleep 1; exit 9' TERM; touch /tmp/listening; while :; do sleep 1000 & wait $!; done"
        identifier = listening(client, started(client, sandbox, box(slow)))
        request = pb.StopContainerRequest(container_id=identifier, timeout=30)
        asked = client._calls["StopContainer"].future(request)
        time.sleep(0.2)
        stand.running.kill()
        assert asked.exception() is not None
    stand.running.start()
    stand.ask(lambda client: client.StopContainer(request))
    with Client(stand.running.socket) as client:
        assert status(client, identifier).exit_code == 9
        remove(client, sandbox)
    stand.is_empty()


# Pulls


class Held:
    """A fault of the registry that holds its answer back."""

    def __init__(self) -> None:
        self.came, self.go = threading.Event(), threading.Event()

    def __call__(self, handler: Handler, data: bytes, media_type: str) -> None:
        self.came.set()
        self.go.wait(20)
        handler.serve(data, media_type)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Faulty]:
    with faulty(busybox_image()) as running:
        conf = tmp_path / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{running.address}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        yield running


@pytest.mark.parametrize("what", ["manifests/1", "blobs"])
def test_a_pull_that_was_killed_is_repeated_and_leaves_nothing(source: Faulty, what: str) -> None:
    names = [name for name in source.content if name.startswith(what)]
    with temporary_node(images={}) as node, daemon(node) as running:
        for name in names:
            held = Held()
            source.faults[name] = [held]
            request = pb.PullImageRequest(image=pb.ImageSpec(image=source.reference()))
            with Client(running.socket) as client:
                asked = client._calls["PullImage"].future(request)
                assert held.came.wait(20), name
                running.kill()
                assert asked.exception() is not None
            held.go.set()
            running.start()
            with Client(running.socket) as client:
                assert list(client.ListImages(pb.ListImagesRequest()).images) == []
                pulled = client.PullImage(request).image_ref
                assert [image.id for image in client.ListImages(pb.ListImagesRequest()).images] == [pulled]
                client.RemoveImage(pb.RemoveImageRequest(image=request.image))
                eventually(lambda: _listed(node.in_root("tmp")) == [])
                assert _listed(node.in_root("layers")) == []


# Ends and successors


def test_what_is_under_way_at_a_gentle_end_is_answered(stand: Stand) -> None:
    config = pod(options=ALONE)
    stand.gates.arm("ADD-begin")
    with Client(stand.running.socket) as client:
        asked = client._calls["RunPodSandbox"].future(pb.RunPodSandboxRequest(config=config))
        stand.gates.reached("ADD-begin")
        assert stand.running.process is not None
        stand.running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        stand.gates.release("ADD-begin")
        sandbox = asked.result(20).pod_sandbox_id
    assert stand.running.process.wait(20) == 0
    stand.running.start()
    with Client(stand.running.socket) as client:
        assert run(client, config) == sandbox
        remove(client, sandbox)
    stand.is_empty()


COUNTING = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_upgrade_disturbs_no_container(tmp_path: Path, number: signal.Signals) -> None:
    """Twenty of them count while their daemon is replaced, and people are attached and execute."""
    with temporary_node() as node, daemon(node) as running:
        with Client(running.socket) as client:
            configs = [pod(options=ALONE, log_directory=str(tmp_path / str(index))) for index in range(5)]
            sandboxes = [run(client, config) for config in configs]
            containers = [
                started(client, sandbox, box(COUNTING, f"c{index}", log_path=f"c{index}.log"))
                for sandbox in sandboxes
                for index in range(4)
            ]
            pids = {identifier: _pid(client, identifier) for identifier in containers}
            sessions = [
                exec_streams(
                    client.Exec(
                        pb.ExecRequest(container_id=identifier, cmd=["sleep", "1000"], stdout=True)
                    ).url,
                    "stdout",
                )
                for identifier in containers[:3]
            ]
            attached = exec_streams(
                client.Attach(pb.AttachRequest(container_id=containers[4], stdout=True)).url, "stdout"
            )
            attached.until(lambda: b"line" in attached.said("stdout"))
        running.stop(number)
        for session in (*sessions, attached):
            with contextlib.suppress(OSError):
                session.to_the_end()
            session.socket.close()
        running.start()
        with Client(running.socket) as client:
            for identifier, pid in pids.items():
                assert status(client, identifier).state == pb.CONTAINER_RUNNING
                assert _pid(client, identifier) == pid
            again = exec_streams(
                client.Attach(pb.AttachRequest(container_id=containers[4], stdout=True)).url, "stdout"
            )
            again.until(lambda: b"line" in again.said("stdout"))
            again.socket.close()
            assert execute(client, containers[0], "echo here").stdout == b"here\n"
            for index in range(5):
                for each in range(4):
                    _goes_on_counting(tmp_path / str(index) / f"c{each}.log")
            for sandbox in sandboxes:
                remove(client, sandbox)
        assert [line for pid, line in processes(node) if pid != running.pid] == []


def _goes_on_counting(log: Path) -> None:
    lines = written(log)
    assert lines == [f"line {count}" for count in range(len(lines))]
    eventually(lambda: len(written(log)) > len(lines))


def test_commands_work_on_the_node_of_a_daemon_that_is_killed() -> None:
    with temporary_node() as node, daemon(node) as running:
        folders = ("--root", node.root, "--state", node.state, "--config", node.config)

        def command(*words: str) -> str:
            argv = [sys.executable, "-m", "orlop", *words[:1], *folders, *words[1:]]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, (words, done.stderr)
            return done.stdout

        over = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            clients = [pool.submit(_lives, running, over) for _ in range(2)]
            for number in range(4):
                assert command("run", "--rm", "busybox", "echo", str(number)) == f"{number}\n"
                command("ps", "--all")
                if number % 2:
                    running.kill()
                    running.start()
            over.set()
            assert all(client.result(60) > 0 for client in clients)


def _lives(running: Daemon, over: threading.Event) -> int:
    """Pods come and go until it is over; how many did."""
    count = 0
    with Kubelet(running.socket, random.Random(), Figures(), impatient=0.0) as kubelet:
        while not over.is_set():
            asked = pb.RunPodSandboxRequest(config=pod(options=ALONE))
            sandbox = kubelet.ask("RunPodSandbox", asked).pod_sandbox_id
            wanted = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=box("exit 6"))
            made = kubelet.ask("CreateContainer", wanted).container_id
            with contextlib.suppress(grpc.RpcError):  # it was started before the kill, and has ended
                kubelet.ask("StartContainer", pb.StartContainerRequest(container_id=made))
            request = pb.ContainerStatusRequest(container_id=made)
            while (found := kubelet.ask("ContainerStatus", request).status).state != pb.CONTAINER_EXITED:
                time.sleep(0.02)
            assert found.exit_code == 6
            kubelet.ask("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
            count += 1
    return count


def test_after_a_reboot_the_daemon_says_what_it_cleaned() -> None:
    with temporary_node() as node, daemon(node) as running:
        config = pod(options=ALONE)
        with Client(running.socket) as client:
            sandbox = run(client, config)
            ran = listening(client, started(client, sandbox, box(name="ran")))
            over = started(client, sandbox, box("exit 3", "over"))
            assert ended(client, over).exit_code == 3
            pid = _pid(client, ran)
        running.kill()
        _reboot(node, pid)
        running.start()
        assert "the machine was restarted: 1 containers and 1 pods of before have ended" in running.said()
        folders = ("--root", node.root, "--state", node.state, "--config", node.config)
        argv = [sys.executable, "-m", "orlop", "status", *folders]
        words = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout
        assert "1 container" in words, words
        with Client(running.socket) as client:
            assert pod_status(client, sandbox).state == pb.SANDBOX_NOTREADY
            lost = status(client, ran)
            assert (lost.state, lost.exit_code, lost.reason) == (pb.CONTAINER_EXITED, 255, "Lost")
            assert (status(client, over).exit_code, status(client, over).reason) == (3, "Error")
            eventually(lambda: _listed(node.in_root("network", "attachments")) == [])
            next_one = pod(config.metadata.name, options=ALONE)
            next_one.metadata.attempt = 1
            again = run(client, next_one)
            assert execute(client, started(client, again), "echo here").stdout == b"here\n"
            remove(client, sandbox)
            remove(client, again)


def _reboot(node: Node, pid: int) -> None:
    """Do to the node what a power cut does: no processes, no mounts, an empty state folder, another boot."""
    for each in [pid, *(pid for pid, _ in processes(node))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{pid}/root") and not processes(node))
    for point in mounts_below(node):
        kernel.umount(point, kernel.MNT_DETACH)
    shutil.rmtree(node.state)
    now = boot_id()
    with contextlib.closing(sqlite3.connect(node.in_root("pods.db"))) as database:
        for table in ("sandboxes", "containers"):
            database.execute(f"UPDATE {table} SET boot = 'before'")
        database.execute("UPDATE facts SET value = 'before' WHERE name = 'boot'")
        database.commit()
    for path in Path(node.in_root("network", "attachments")).iterdir():
        path.write_text(path.read_text().replace(now, "before"))


def _pid(client: Client, identifier: str) -> int:
    request = pb.ContainerStatusRequest(container_id=identifier, verbose=True)
    return int(json.loads(client.ContainerStatus(request).info["info"])["pid"])
