"""The daemon's server: its socket, both names of the interface, statuses, requests cut off, and its end."""

from __future__ import annotations

import logging
import os
import signal
import socket
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.status import failure
from orlop.kit import errors, limits
from orlop.kit.node import Node
from tests.cri.requests import (
    STUBBORN,
    box,
    ended,
    eventually,
    execute,
    listening,
    pod,
    refused,
    remove,
    run,
    started,
    status,
)
from tests.support.cri import Client, Daemon, daemon

pytestmark = pytest.mark.host


def test_both_names_of_the_interface_are_served(serving: Daemon) -> None:
    for version in ("v1", "v1alpha2"):
        with Client(serving.socket, version=version) as client:
            answer = client.Version(pb.VersionRequest())
            assert (answer.runtime_name, answer.runtime_api_version) == ("orlop", "v1")
            sandbox = run(client)
            assert [each.id for each in client.ListPodSandbox(pb.ListPodSandboxRequest()).items] == [sandbox]
            remove(client, sandbox)


def test_a_method_that_the_interface_does_not_have_is_unimplemented(shared: Client) -> None:
    call = shared._channel.unary_unary("/runtime.v1.RuntimeService/Fly")
    with refused(grpc.StatusCode.UNIMPLEMENTED):
        call(b"")


def test_only_root_may_connect_unless_the_configuration_says_so(serving: Daemon) -> None:
    found = os.stat(serving.socket)
    assert stat.S_ISSOCK(found.st_mode)
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o660, 0, 0)
    assert not os.stat(os.path.dirname(serving.socket)).st_mode & 0o022


def test_the_socket_has_the_mode_group_and_place_of_the_configuration(node: Node) -> None:
    path = f"{node.state}/other/cri.sock"
    text = f'[cri]\nlisten = "unix://{path}"\nsocket_mode = "0600"\nsocket_group = "12"\n'
    Path(node.config).write_text(text, encoding="utf-8")
    with daemon(node, socket=path):
        found = os.stat(path)
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o600, 12)
    assert not os.path.exists(path)


def test_a_dead_daemons_socket_is_taken_over(node: Node) -> None:
    with daemon(node) as running:
        running.kill()
        assert os.path.exists(running.socket)
        running.start()
        with Client(running.socket) as client:
            client.Version(pb.VersionRequest())


def test_a_living_daemons_socket_is_not_taken_away(serving: Daemon, client: Client) -> None:
    code, said = Daemon(serving.node).refuses()
    assert code == errors.Conflict.exit_code
    assert "another daemon" in said
    client.Version(pb.VersionRequest())


def test_what_is_no_socket_is_left_alone(node: Node) -> None:
    os.makedirs(node.state, exist_ok=True)
    path = Path(node.in_state("orlop.sock"))
    path.write_text("precious", encoding="utf-8")
    assert "is there and is no socket" in Daemon(node).refuses()[1]
    assert path.read_text(encoding="utf-8") == "precious"


def test_a_folder_that_others_may_write_into_is_no_place_for_the_socket(node: Node) -> None:
    os.makedirs(node.state, exist_ok=True)
    os.chmod(node.state, 0o777)
    code, said = Daemon(node).refuses()
    assert code == errors.Denied.exit_code
    assert "others may write into it" in said


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("tcp://127.0.0.1:9000", "is not the address of a Unix socket"),
        ("unix://relative", "is not the address of a Unix socket"),
        ("unix:///" + "long/" * 30, "is not the address of a Unix socket"),
        ("unix:///run/" + "x" * 120, "longer than 107 bytes"),
    ],
)
def test_an_address_that_cannot_be_is_told(node: Node, listen: str, words: str) -> None:
    code, said = Daemon(node, "--listen", listen).refuses()
    assert code == errors.InvalidInput.exit_code
    assert words in said


def test_a_message_larger_than_the_bound_is_refused(shared: Client) -> None:
    annotations = {"big": "x" * limits.CRI_MESSAGE}
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED):
        run(shared, pod(annotations=annotations))
    shared.Version(pb.VersionRequest())


def test_a_client_that_speaks_nonsense_does_not_disturb_others(serving: Daemon, client: Client) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(serving.socket)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 4096)
        client.Version(pb.VersionRequest())


def test_what_a_request_began_goes_on_when_its_client_gives_up(shared: Client) -> None:
    sandbox = run(shared)
    identifier = started(shared, sandbox, box(STUBBORN))
    request = pb.StopContainerRequest(container_id=identifier, timeout=3)
    with refused(grpc.StatusCode.DEADLINE_EXCEEDED):
        shared.StopContainer(request, timeout=0.2)
    assert status(shared, identifier).state == pb.CONTAINER_RUNNING
    assert ended(shared, identifier).exit_code == 137
    remove(shared, sandbox)


def test_a_repeat_joins_the_request_whose_deadline_passed(shared: Client) -> None:
    for wait in (0.0005, 0.002, 0.005, 0.01, 0.02, 0.04):
        config = pod(options=pb.NamespaceOption(pid=pb.CONTAINER))
        request = pb.RunPodSandboxRequest(config=config)
        try:
            shared.RunPodSandbox(request, timeout=wait)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        sandbox = run(shared, config)
        items = shared.ListPodSandbox(pb.ListPodSandboxRequest()).items
        assert [item.id for item in items if item.metadata.name == config.metadata.name] == [sandbox]
        remove(shared, sandbox)


def test_the_same_requests_at_the_same_time_give_one_pod_and_one_container(shared: Client) -> None:
    config = pod(options=pb.NamespaceOption(pid=pb.CONTAINER))
    with ThreadPoolExecutor(8) as pool:
        sandboxes = set(pool.map(lambda _: run(shared, config), range(8)))
        assert len(sandboxes) == 1
        sandbox = sandboxes.pop()

        def make(_: int) -> str:
            request = pb.CreateContainerRequest(pod_sandbox_id=sandbox, config=box())
            return str(shared.CreateContainer(request).container_id)

        assert len(set(pool.map(make, range(8)))) == 1
    remove(shared, sandbox)


def test_lists_do_not_wait_behind_slow_work(shared: Client) -> None:
    sandbox = run(shared)
    identifiers = [started(shared, sandbox, box(STUBBORN, f"c{number}")) for number in range(4)]
    with ThreadPoolExecutor(32) as pool:
        stops = [
            pool.submit(
                shared.StopContainer, pb.StopContainerRequest(container_id=identifiers[n % 4], timeout=60)
            )
            for n in range(32)
        ]
        eventually(lambda: sum(stop.running() for stop in stops) == 32)
        for _ in range(20):
            assert len(shared.ListContainers(pb.ListContainersRequest()).containers) >= 4
        assert not any(stop.done() for stop in stops)
        remove(shared, sandbox)  # which ends them


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_at_its_end_the_daemon_finishes_what_it_was_asked(node: Node, number: signal.Signals) -> None:
    with daemon(node) as running:
        with Client(running.socket) as client:
            script = "trap 'touch /tmp/asked' TERM; touch /tmp/listening; while :; do sleep 0.1; done"
            identifier = listening(client, started(client, run(client), box(script)))
            stops = []
            request = pb.StopContainerRequest(container_id=identifier, timeout=3)
            thread = threading.Thread(target=lambda: stops.append(client.StopContainer(request)))
            thread.start()
            eventually(lambda: execute(client, identifier, "test -e /tmp/asked").exit_code == 0)
            assert running.stop(number) == 0
            thread.join()
            assert len(stops) == 1
        assert not os.path.exists(running.socket)
        running.start()
        with Client(running.socket) as client:
            assert status(client, identifier).exit_code == 137


def test_a_stream_does_not_hold_the_daemon_up(node: Node) -> None:
    with daemon(node) as running, Client(running.socket) as client:
        events = client.GetContainerEvents(pb.GetEventsRequest())
        run(client)
        next(events)
        begun = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - begun < limits.CRI_SHUTDOWN


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound, grpc.StatusCode.NOT_FOUND),
        (errors.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Denied, grpc.StatusCode.PERMISSION_DENIED),
        (errors.TimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
        (errors.Corrupt, grpc.StatusCode.DATA_LOSS),
        (errors.LimitExceeded, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.Unsupported, grpc.StatusCode.UNIMPLEMENTED),
        (errors.OrlopError, grpc.StatusCode.UNKNOWN),
    ],
)
def test_an_error_becomes_the_status_of_its_kind(
    error: type[errors.OrlopError], code: grpc.StatusCode
) -> None:
    failed = failure("Method", error("pod web", "is not ready", hint="start a new one"))
    assert (failed.code, failed.message) == (code, "pod web: is not ready (start a new one)")


def test_a_fault_of_ours_is_internal_and_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "orlop.cri.status"):
        try:
            raise KeyError("oops")
        except KeyError as error:
            failed = failure("Status", error)
    assert failed.code == grpc.StatusCode.INTERNAL
    assert "KeyError" in failed.message
    assert caplog.records[0].exc_info is not None
