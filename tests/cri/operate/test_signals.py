"""What operators see of a daemon: log lines with request IDs, metrics, systemd's notifications."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from orlop.cri.operate.logs import ClientsThatLeft
from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host


def until(what: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def watched(port: int) -> Iterator[Daemon]:
    config = f'[serve]\nlog_format = "json"\nlog_level = "debug"\nmetrics_address = "127.0.0.1:{port}"\n'
    with temporary_node(config=config) as node, daemon(node) as running:
        yield running


def lines(running: Daemon, **wanted: str) -> list[dict[str, object]]:
    told = [json.loads(line) for line in running.said().splitlines()]
    return [line for line in told if all(line.get(key) == value for key, value in wanted.items())]


def figures(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def sandbox_request(name: str) -> pb.RunPodSandboxRequest:
    config = pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=name, namespace="default", uid="u-" + name)
    )
    config.linux.security_context.namespace_options.network = pb.NODE
    return pb.RunPodSandboxRequest(config=config)


def test_every_request_has_an_id_of_its_own_and_its_outcome(watched: Daemon) -> None:
    with Client(watched.socket) as client:
        identifier = client.RunPodSandbox(sandbox_request("one")).pod_sandbox_id
        with pytest.raises(grpc.RpcError):
            client.StartContainer(pb.StartContainerRequest(container_id="f" * 64))
        client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=identifier))
    [run] = lines(watched, method="RunPodSandbox", code="OK")
    assert (run["level"], run["about"]) == ("info", "default/one")
    [failed] = lines(watched, method="StartContainer")
    assert failed["code"] == "NOT_FOUND"
    assert "f" * 12 in str(failed["msg"])
    [removed] = lines(watched, method="RemovePodSandbox", code="OK")
    assert removed["about"] == identifier
    identifiers = {line["request"] for line in (run, failed, removed)}
    assert len(identifiers) == 3
    assert all(re.fullmatch("[0-9a-f]{12}", str(each)) for each in identifiers)
    assert {line["level"] for line in lines(watched, method="Version")} == {"debug"}


def test_metrics_count_requests_errors_and_what_there_is(watched: Daemon, port: int) -> None:
    with Client(watched.socket) as client:
        identifier = client.RunPodSandbox(sandbox_request("one")).pod_sandbox_id
        with pytest.raises(grpc.RpcError):
            client.ContainerStatus(pb.ContainerStatusRequest(container_id="f" * 64))
        found = figures(port)
        client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=identifier))
    assert found['orlop_cri_request_duration_seconds_count{code="OK",method="RunPodSandbox"}'] == 1
    assert found['orlop_cri_errors_total{code="NOT_FOUND",method="ContainerStatus"}'] == 1
    assert found['orlop_cri_requests_in_flight{method="RunPodSandbox"}'] == 0
    assert found['orlop_pods{state="ready"}'] == 1
    assert found['orlop_containers{state="running"}'] == 0
    assert found["process_resident_memory_bytes"] > 0
    assert figures(port)['orlop_pods{state="ready"}'] == 0


def test_no_label_holds_a_name_that_a_client_chose(watched: Daemon, port: int) -> None:
    with Client(watched.socket) as client:
        for name in ("aaaa", "bbbb"):
            with pytest.raises(grpc.RpcError):
                client.StartContainer(pb.StartContainerRequest(container_id=f"{name}-chosen"))
            with pytest.raises(grpc.RpcError):
                image = pb.ImageSpec(image=f"127.0.0.1:1/{name}-chosen:1")
                client.PullImage(pb.PullImageRequest(image=image), timeout=30)
    names = figures(port)
    assert not [name for name in names if "chosen" in name]
    assert [value for name, value in names.items() if name.startswith("orlop_image_pulls_total")] == [2]


def test_the_listener_answers_metrics_and_nothing_else(watched: Daemon, port: int) -> None:
    for target, method, code in (("/", "GET", 404), ("/metrics", "POST", 405)):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{target}", method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=20)
        assert caught.value.code == code
        caught.value.close()
    head = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", method="HEAD")
    with urllib.request.urlopen(head, timeout=20) as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for nonsense in (b"\x16\x03\x01 not HTTP\r\n\r\n", b"GET " + b"x" * 100_000):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(nonsense)
            while connection.recv(4096):
                pass
    assert figures(port)


def test_without_an_address_nothing_listens(node: Node) -> None:
    with daemon(node) as running, open(f"/proc/{running.pid}/net/tcp") as table:
        inodes = {line.split()[9] for line in table.readlines()[1:] if line.split()[3] == "0A"}
        own = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{running.pid}/fd")]
        assert (
            len([link for link in own if link.removeprefix("socket:[").rstrip("]") in inodes]) == 1
        )  # streaming


def test_a_taken_address_is_told(node: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        Path(node.config).write_text(f'[serve]\nmetrics_address = "127.0.0.1:{taken.getsockname()[1]}"\n')
        running = Daemon(node)
        with pytest.raises(AssertionError, match="the daemon ended"):
            running.start()
    assert "cannot be listened on" in running.said()


def test_systemd_is_told_of_readiness_life_reload_and_end(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(0.05)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")

        def heard(word: str) -> bool:
            try:
                told.append(manager.recv(4096).decode())
            except TimeoutError:
                return False
            return word in told[-1]

        with daemon(node) as running:
            until(lambda: heard("READY=1"))
            assert running.socket in told[-1]
            until(lambda: heard("WATCHDOG=1"))
            until(lambda: heard("WATCHDOG=1"))
            os.kill(running.pid, signal.SIGHUP)
            until(lambda: heard("RELOADING=1"))
            assert "MONOTONIC_USEC=" in told[-1]
            until(lambda: heard("READY=1"))
            running.stop()
            until(lambda: heard("STOPPING=1"))


def test_a_client_that_leaves_while_it_is_answered_is_no_error_in_the_log() -> None:
    theirs = logging.getLogger("grpc._cython.cygrpc")
    told = theirs.makeRecord(theirs.name, logging.ERROR, "x", 1, "ExecuteBatchError raised in core", (), None)
    other = theirs.makeRecord(theirs.name, logging.ERROR, "x", 1, "something else", (), None)
    assert not ClientsThatLeft().filter(told)
    assert ClientsThatLeft().filter(other)
