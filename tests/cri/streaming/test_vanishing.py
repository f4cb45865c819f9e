"""A client that goes away at any moment leaves nothing: no task, descriptor, thread or process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from orlop.kit import limits
from orlop.kit.files import unique
from orlop.pod.context import Pods
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.stop_container import stop_container
from tests.cri.streaming.raw import Spdy, WebSocket, connected, exec_streams, request, spdy_request, vanish
from tests.cri.streaming.serving import Serving, echo, processes
from tests.cri.streaming.serving import serving as serving_
from tests.pod.make import eventually, pod, shell, sleeper, started

pytestmark = pytest.mark.host
RUDELY = pytest.mark.parametrize("rudely", [False, True])
MIB = 1024 * 1024


def seconds() -> str:
    """An argument for sleep(1) that nobody else has."""
    return f"300.{int(unique()[:8], 16)}"


def descriptors() -> dict[str, int]:
    """Open ones by kind, without the databases that each thread has its own of."""
    kinds: dict[str, int] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
        except FileNotFoundError:
            continue
        if ".db" not in kind:
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


@pytest.fixture(autouse=True)
def nothing_is_left(serving: Serving) -> Iterator[None]:
    """Nothing is there afterwards that was not there before; what was may have gone: it was others'."""
    before, tasks = descriptors(), serving.state()[1]
    yield
    serving.idle()
    eventually(lambda: serving.state()[1] == tasks)
    eventually(lambda: all(count <= before.get(kind, 0) for kind, count in descriptors().items()))
    streaming = [thread for thread in threading.enumerate() if thread.name.startswith("streaming")]
    assert len(streaming) <= 16
    assert not [thread for thread in threading.enumerate() if thread.name == "namespaces"]


@RUDELY
@pytest.mark.parametrize("part", [0, 10, 60, None])
def test_before_its_request_is_complete(serving: Serving, container: str, part: int, rudely: bool) -> None:
    url = serving.execute(container, "true")
    joined = connected(url)
    joined.sendall(request(url, {})[:-2][:part])
    vanish(joined, rudely=rudely)


@RUDELY
@pytest.mark.parametrize("streams", [(), ("error",), ("error", "stdin", "stdout")])
def test_before_its_streams_are_open(
    serving: Serving, container: str, streams: tuple[str, ...], rudely: bool
) -> None:
    client = Spdy(serving.execute(container, "true"))
    for name in streams:
        client.stream(name)
    vanish(client.socket, rudely=rudely)


@RUDELY
def test_when_the_process_is_just_starting(serving: Serving, container: str, rudely: bool) -> None:
    word = seconds()
    for _ in range(10):
        client = Spdy(serving.execute(container, "sleep", word))
        for name in ("error", "stdin", "stdout", "stderr"):
            client.stream(name)
        vanish(client.socket, rudely=rudely)
    serving.idle()
    assert not processes(word)


@RUDELY
@pytest.mark.parametrize("tty", [False, True])
def test_while_a_silent_process_runs_which_is_then_killed(
    serving: Serving, container: str, tty: bool, rudely: bool
) -> None:
    word = seconds()
    url = serving.execute(container, "sh", "-c", f"trap '' HUP TERM; sleep {word} & echo up; wait", tty=tty)
    client = exec_streams(url, "stdin", "stdout", "resize" if tty else "stderr")
    client.until(lambda: b"up" in client.said("stdout"))
    assert processes(word)
    vanish(client.socket, rudely=rudely)
    serving.idle()
    assert not processes(word)


def test_a_process_that_ends_by_itself_at_the_end_of_its_input_may(pods: Pods, container: str) -> None:
    mark = f"/tmp/{unique()}"
    with serving_(pods, exec_grace=30.0) as patient:
        url = patient.execute(container, "sh", "-c", f"echo up; cat > /dev/null; sleep 0.2; touch {mark}")
        client = exec_streams(url, "stdin", "stdout", "stderr")
        client.until(lambda: b"up" in client.said("stdout"))
        vanish(client.socket)
        patient.idle()
        check = exec_streams(patient.execute(container, "test", "-e", mark, stdin=False), "stdout", "stderr")
        assert check.outcome()["status"] == "Success"
        check.to_the_end()
        check.socket.close()
        patient.idle()


@RUDELY
@pytest.mark.parametrize("protocol", ["spdy", "websocket"])
def test_while_output_flows(serving: Serving, container: str, protocol: str, rudely: bool) -> None:
    url = serving.execute(container, "yes", "y" * 1000)
    client: Spdy | WebSocket
    if protocol == "spdy":
        client = exec_streams(url, "stdin", "stdout", "stderr")
    else:
        client = WebSocket(url, "v5.channel.k8s.io")
    for _ in range(20):
        client.take()
    vanish(client.socket, rudely=rudely)


@RUDELY
@pytest.mark.parametrize("protocol", ["spdy", "websocket"])
def test_while_its_input_waits_for_a_process_that_does_not_read(
    serving: Serving, container: str, protocol: str, rudely: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_LINGER", 0.2)
    monkeypatch.setattr(limits, "STREAM_LOOK", 0.2)
    word = seconds()
    url = serving.execute(container, "sleep", word)
    client: Spdy | WebSocket
    send: Callable[[bytes], None]
    if protocol == "spdy":
        spdy = client = exec_streams(url, "stdin", "stdout", "stderr")
        send = lambda data: spdy.send("stdin", data)  # noqa: E731
    else:
        ws = client = WebSocket(url, "v5.channel.k8s.io")
        send = lambda data: ws.send(b"\0" + data)  # noqa: E731
    client.socket.settimeout(1)
    with pytest.raises(TimeoutError):  # the server takes no more: its memory is bounded
        for _ in range(64):
            send(b"x" * MIB)
    vanish(client.socket, rudely=rudely)
    serving.idle()
    assert not processes(word)


@RUDELY
@pytest.mark.parametrize("protocol", ["spdy", "websocket"])
def test_while_it_is_attached_and_the_container_goes_on(
    serving: Serving, pods: Pods, protocol: str, rudely: bool
) -> None:
    made = started(pods, shell("i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done", stdin=True))
    for _ in range(5):
        url = serving.streaming.attach(made.id, tty=False, stdin=True, stdout=True, stderr=True)
        client: Spdy | WebSocket
        if protocol == "spdy":
            client = exec_streams(url, "stdin", "stdout", "stderr")
        else:
            client = WebSocket(url, "v4.channel.k8s.io")
        client.take()
        vanish(client.socket, rudely=rudely)
    serving.idle()
    assert pods.container(made.id).state == "running"
    stop_container(pods, made.id, 0)


@RUDELY
def test_while_connections_to_a_port_are_open(serving: Serving, pods: Pods, rudely: bool) -> None:
    sandbox = run_sandbox(pods, pod())
    with echo(pods, sandbox.id, 8080):
        client = Spdy(serving.streaming.port_forward(sandbox.id, ()), "portforward.k8s.io")
        for number in range(20):
            for kind in ("error", "data"):
                client.stream(kind, port="8080", requestid=str(number))
            if number % 2:
                client.send("data", b"x" * 1000)
        client.stream("error", port="8080", requestid="alone")
        client.until(lambda: len(client.replied) == 41)
        vanish(client.socket, rudely=rudely)
        serving.idle()


def test_with_a_container_that_goes_away_all_its_sessions_end(serving: Serving, pods: Pods) -> None:
    made = started(pods, sleeper())
    word = seconds()
    running = exec_streams(serving.execute(made.id, "sleep", word), "stdin", "stdout", "stderr")
    attached = exec_streams(
        serving.streaming.attach(made.id, tty=False, stdin=False, stdout=True, stderr=False), "stdout"
    )
    eventually(lambda: processes(word))
    stop_container(pods, made.id, 0)
    assert running.outcome()["reason"] == "NonZeroExitCode"
    assert attached.outcome()["status"] == "Success"
    for client in (running, attached):
        client.to_the_end()
        client.socket.close()


def test_when_the_server_stops_its_processes_are_killed(pods: Pods, container: str) -> None:
    word = seconds()
    with serving_(pods) as ending:
        url = ending.execute(container, "sleep", word)
        client = exec_streams(url, "stdin", "stdout", "stderr")
        eventually(lambda: processes(word))
        idle = connected(url)
        half = connected(url)
        half.sendall(spdy_request(url, "v4.channel.k8s.io")[:20])
    assert not processes(word)
    for joined in (client.socket, idle, half):
        joined.close()
