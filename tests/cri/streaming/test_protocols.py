"""The subprotocols to the letter: what each SPDY and WebSocket version has, flow control, half-close."""

from __future__ import annotations

import base64
import json

import pytest

from orlop.cri.streaming.spdy import frames
from orlop.pod.context import Pods
from orlop.pod.run_sandbox import run_sandbox
from tests.cri.streaming.raw import Spdy, WebSocket, exec_streams
from tests.cri.streaming.serving import Serving, echo
from tests.cri.streaming.serving import serving as serving_
from tests.pod.make import pod

pytestmark = pytest.mark.host
SAYS = ("sh", "-c", "echo out; echo err >&2; exit 3")


@pytest.mark.parametrize("protocol", ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"])
def test_before_v4_the_error_stream_has_words(serving: Serving, container: str, protocol: str) -> None:
    url = serving.execute(container, *SAYS, stdin=False)
    client = exec_streams(url, "stdout", "stderr", protocol=protocol)
    assert f"X-Stream-Protocol-Version: {protocol}".lower().encode() in client.head.lower()
    client.to_the_end()
    assert client.said("stdout") == b"out\n"
    assert b"3" in client.said("error")


def test_v2_has_no_stream_for_the_terminals_size(serving: Serving, container: str) -> None:
    url = serving.execute(container, "echo", "hi", tty=True)
    client = exec_streams(url, "stdin", "stdout", protocol="v2.channel.k8s.io")
    client.to_the_end()
    assert client.said("stdout") == b"hi\r\n"


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_websocket_channels_carry_output_error_and_the_status(
    serving: Serving, container: str, protocol: str
) -> None:
    client = WebSocket(serving.execute(container, *SAYS, stdin=False), protocol)
    client.to_the_end()
    assert client.protocol == protocol
    assert client.messages[0] == b"\x01"  # "go on"
    assert (client.said(1), client.said(2)) == (b"out\n", b"err\n")
    status = json.loads(client.said(3))
    assert status["status"] == "Failure"
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert client.code == 1000


@pytest.mark.parametrize("protocols", [(), ("channel.k8s.io",)])
def test_the_first_websocket_protocol_has_words_for_errors(
    serving: Serving, container: str, protocols: tuple[str, ...]
) -> None:
    client = WebSocket(serving.execute(container, *SAYS, stdin=False), *protocols)
    client.to_the_end()
    assert client.said(1) == b"out\n"
    assert b"3" in client.said(3)
    assert not client.said(3).startswith(b"{")


@pytest.mark.parametrize("protocol", ["base64.channel.k8s.io", "v4.base64.channel.k8s.io"])
def test_base64_both_ways(serving: Serving, container: str, protocol: str) -> None:
    client = WebSocket(serving.execute(container, "head", "-c", "5"), protocol)
    client.send_text("0" + base64.b64encode(b"hello").decode())
    client.to_the_end()
    said = [base64.b64decode(message[1:]) for message in client.messages if message[:1] == b"1"]
    assert b"".join(said) == b"hello"


def test_the_fifth_protocol_ends_the_input(serving: Serving, container: str) -> None:
    client = WebSocket(serving.execute(container, "wc", "-c"), "v5.channel.k8s.io")
    client.send(b"\0abc")
    client.send(b"\0de", last=False)  # one message in two pieces
    client.send(b"f")
    client.send(b"\xff\x00")
    client.to_the_end()
    assert client.said(1) == b"6\n"


def test_a_close_for_no_channel_is_a_protocol_error(serving: Serving, container: str) -> None:
    client = WebSocket(serving.execute(container, "cat"), "v5.channel.k8s.io")
    client.send(b"\xff\x63")
    client.to_the_end()
    assert client.code == 1002


def test_before_the_fifth_protocol_255_is_no_signal(serving: Serving, container: str) -> None:
    client = WebSocket(serving.execute(container, "head", "-c", "3"), "v4.channel.k8s.io")
    client.send(b"\xff\x00")
    client.send(b"\0abc")
    client.to_the_end()
    assert client.said(1) == b"abc"


def test_streams_nobody_asked_for_or_asked_for_twice_are_refused_or_ignored(
    serving: Serving, container: str
) -> None:
    client = Spdy(serving.execute(container, "sh", "-c", "echo hi; sleep 1", stdin=False))
    client.stream("error")
    odd = client.stream("nonsense")
    twice = client.stream("error")
    for name in ("stdin", "stdout", "stderr"):
        client.stream(name)
    client.numbers["error"] = 1
    assert client.outcome()["status"] == "Success"
    assert set(client.reset) == {odd, twice}
    assert client.said("stdout") == b"hi\n"


def test_a_ping_is_answered_and_numbers_go_up(serving: Serving, container: str) -> None:
    client = exec_streams(serving.execute(container, "cat"), "stdin", "stdout", "stderr")
    client.socket.sendall(frames.ping(7) + frames.ping(8))
    client.until(lambda: frames.Ping(7) in client.others)
    client.socket.sendall(client.encoder.syn(1, {"streamtype": "error"}))
    client.until(lambda: client.reset.get(1) == frames.Status.PROTOCOL_ERROR)
    client.socket.close()


def test_whoever_takes_part_in_flow_control_is_sent_no_more_than_its_window(
    serving: Serving, container: str
) -> None:
    client = Spdy(serving.execute(container, "head", "-c", "300000", "/dev/zero", stdin=False))
    client.socket.sendall(frames.settings(10_000))
    for name in ("error", "stdout", "stderr"):
        client.stream(name)
    client.until(lambda: len(client.said("stdout")) == 10_000)
    client.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        client.until(lambda: len(client.said("stdout")) > 10_000)
    client.socket.settimeout(20)
    client.socket.sendall(frames.window_update(3, 5_000))
    client.until(lambda: len(client.said("stdout")) == 15_000)
    client.socket.sendall(frames.window_update(3, 400_000) + frames.window_update(0, 400_000))
    assert client.outcome()["status"] == "Success"
    assert len(client.said("stdout")) == 300_000


def test_whoever_takes_part_in_flow_control_is_granted_what_was_taken(
    serving: Serving, container: str
) -> None:
    client = Spdy(serving.execute(container, "sh", "-c", "wc -c"))
    client.socket.sendall(frames.settings(65536))
    for name in ("error", "stdin", "stdout", "stderr"):
        client.stream(name)
    client.send("stdin", b"x" * 60_000)
    client.until(lambda: frames.WindowUpdate(3, 60_000) in client.others)
    client.until(lambda: frames.WindowUpdate(0, 60_000) in client.others)
    client.send("stdin", b"", fin=True)
    client.outcome()
    assert client.said("stdout") == b"60000\n"


def test_a_reader_that_stops_stops_the_process_and_not_the_server(serving: Serving, container: str) -> None:
    client = exec_streams(serving.execute(container, "yes", stdin=False), "stdout", "stderr")
    client.socket.sendall(frames.reset(client.numbers["stdout"], frames.Status.CANCEL))
    outcome = client.outcome()  # SIGPIPE
    assert outcome["details"] == {"causes": [{"reason": "ExitCode", "message": "141"}]}


def test_an_idle_client_is_let_go(pods: Pods, container: str) -> None:
    with serving_(pods, idle_timeout=0.5, exec_grace=0.1) as hasty:
        client = exec_streams(hasty.execute(container, "sleep", "300"), "stdin", "stdout", "stderr")
        with pytest.raises((AssertionError, ConnectionResetError)):
            client.until(lambda: False)
        hasty.idle()


def test_ports_by_websocket(serving: Serving, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    with echo(pods, sandbox.id, 8080), echo(pods, sandbox.id, 8081, "::1"):
        url = serving.streaming.port_forward(sandbox.id, (8080, 8081, 8082))
        client = WebSocket(url, "v4.channel.k8s.io")
        client.send(b"\x00to the first")
        client.send(b"\x02to the second")
        client.until(lambda: b"second" in client.said(2) and b"first" in client.said(0))
        client.until(lambda: b"refused" in client.said(5))
        ports = [8080, 8080, 8081, 8081, 8082, 8082]
        for channel, port in enumerate(ports):
            assert client.said(channel).startswith(port.to_bytes(2, "little"))
        assert client.said(0)[2:] == b"to the first"
        client.socket.close()
        serving.idle()


def test_a_port_in_the_hosts_network(serving: Serving, pods: Pods) -> None:
    import socket

    sandbox = run_sandbox(pods, pod(network="host"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        client = Spdy(serving.streaming.port_forward(sandbox.id, ()), "portforward.k8s.io")
        client.stream("error", port=port)  # no IDs: an old client
        client.stream("data", port=port)
        joined, _ = server.accept()
        with joined:
            joined.sendall(b"hello")
        client.until(lambda: client.said("data") == b"hello")
        client.socket.close()


def test_connections_of_one_client_do_not_wait_for_each_other(serving: Serving, pods: Pods) -> None:
    sandbox = run_sandbox(pods, pod())
    with echo(pods, sandbox.id, 8080):
        client = Spdy(serving.streaming.port_forward(sandbox.id, ()), "portforward.k8s.io")
        for number in range(50):
            client.stream("error", port="8080", requestid=str(number))
            client.numbers[f"{number}"] = client.stream("data", port="8080", requestid=str(number))
        for number in reversed(range(50)):
            client.send(f"{number}", b"%d" % number, fin=True)
        client.until(lambda: all(client.numbers[str(number)] in client.finished for number in range(50)))
        assert [client.said(str(number)) for number in range(50)] == [b"%d" % number for number in range(50)]
        client.socket.close()


@pytest.mark.parametrize("headers", [{}, {"port": "0"}, {"port": "65536"}, {"port": "x"}, {"port": "-1"}])
def test_a_stream_for_no_port_is_refused(serving: Serving, pods: Pods, headers: dict[str, str]) -> None:
    sandbox = run_sandbox(pods, pod())
    client = Spdy(serving.streaming.port_forward(sandbox.id, ()), "portforward.k8s.io")
    number = client.stream("data", **headers)
    client.until(lambda: number in client.reset)
    client.socket.close()
