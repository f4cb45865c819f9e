"""Exec, attach and port-forward by Kubernetes' own client library, over SPDY and WebSocket."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.pod.context import Pods
from orlop.pod.run_sandbox import run_sandbox
from tests.cri.streaming.serving import Serving, echo
from tests.pod.make import pod, shell, started
from tools.builds import local

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]  # the first run builds the client
BOTH = pytest.mark.parametrize("protocol", ["spdy", "websocket"])
MIB = 1024 * 1024
SIZED = "for i in $(seq 100); do [ \"$(stty size)\" = '{}' ] && break; sleep 0.1; done; stty size"


@pytest.fixture(scope="session")
def program() -> str:
    return str(local("streaming", Path(__file__).parent / "goclient"))


def run(*arguments: str, stdin: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(arguments, input=stdin, capture_output=True, timeout=120, check=False)


@BOTH
def test_output_error_and_exit_code_arrive_apart(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    url = serving.execute(container, "sh", "-c", "echo out; echo err >&2; exit 42", stdin=False)
    done = run(program, "exec", protocol, url)
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 42)


@BOTH
def test_a_signal_is_told_as_128_and_its_number(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    done = run(program, "exec", protocol, serving.execute(container, "sh", "-c", "kill -9 $$", stdin=False))
    assert done.returncode == 137


@BOTH
def test_the_end_of_input_reaches_the_process(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    url = serving.execute(container, "sh", "-c", "wc -c; echo done")
    done = run(program, "exec", protocol, "-stdin", url, stdin=b"x" * 100_000)
    assert (done.stdout, done.returncode) == (b"100000\ndone\n", 0), done.stderr


@BOTH
def test_a_command_that_is_not_there_ends_with_127_and_says_so(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    done = run(program, "exec", protocol, serving.execute(container, "nosuch", stdin=False))
    assert done.returncode == 127
    assert b"nosuch" in done.stderr


@BOTH
def test_a_file_that_cannot_be_executed_ends_with_126(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    done = run(program, "exec", protocol, serving.execute(container, "/etc", stdin=False))
    assert done.returncode == 126


@BOTH
def test_a_terminal_has_the_size_that_the_client_tells(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    script = f"{SIZED.format('44 99')}; tty"
    url = serving.execute(container, "sh", "-c", script, tty=True)
    done = run(program, "exec", protocol, "-tty", "-stdin", "-size", "77x33,99x44", url)
    assert b"44 99\r\n/dev/pts/" in done.stdout, (done.stdout, done.stderr)


@BOTH
def test_a_terminal_has_the_size_that_the_client_told_first_almost_at_once(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    # crun 1.8 begins with none, whatever process.json says, and hands the terminal over a moment later
    url = serving.execute(container, "sh", "-c", "sleep 0.3; stty size", tty=True)
    done = run(program, "exec", protocol, "-tty", "-stdin", "-size", "77x33", url)
    assert done.stdout == b"33 77\r\n"


@BOTH
def test_a_terminal_delivers_all_that_was_written(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    for _ in range(5):
        url = serving.execute(container, "sh", "-c", "seq 20000; exit 3", tty=True, stdin=False)
        done = run(program, "exec", protocol, "-tty", url)
        assert (done.stdout.count(b"\r\n"), done.returncode) == (20000, 3)


def test_a_client_that_opens_too_few_streams_is_told_which(
    program: str, serving: Serving, container: str
) -> None:
    done = run(program, "exec", "spdy", serving.execute(container, "true"))
    assert b"no streams for stdin" in done.stderr


@BOTH
def test_what_goes_through_both_ways_comes_back_unchanged(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    data = os.urandom(MIB) * 100
    done = run(program, "exec", protocol, "-stdin", serving.execute(container, "cat"), stdin=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


@BOTH
def test_fifty_at_a_time(program: str, protocol: str, serving: Serving, container: str) -> None:
    def one(number: int) -> tuple[bytes, int]:
        url = serving.execute(container, "sh", "-c", f"cat; exit {number}")
        done = run(program, "exec", protocol, "-stdin", url, stdin=b"%d" % number)
        return done.stdout, done.returncode

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(one, range(50))) == [(b"%d" % number, number) for number in range(50)]


@BOTH
def test_what_is_left_in_the_background_is_not_waited_for(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    url = serving.execute(container, "sh", "-c", "sleep 300 & echo started", stdin=False)
    assert run(program, "exec", protocol, url).stdout == b"started\n"


@BOTH
def test_input_that_nobody_reads_does_not_hold_up_the_end(
    program: str, protocol: str, serving: Serving, container: str
) -> None:
    url = serving.execute(container, "sh", "-c", "echo enough; exit 5")
    done = run(program, "exec", protocol, "-stdin", url, stdin=b"x" * 20 * MIB)
    assert (done.stdout, done.returncode) == (b"enough\n", 5), done.stderr


@BOTH
def test_attach_gives_input_and_takes_output_until_the_container_ends(
    program: str, protocol: str, serving: Serving, pods: Pods
) -> None:
    made = started(
        pods, shell("read a; echo got $a; echo bad >&2; seq 1000; read b", stdin=True, stdin_once=True)
    )
    url = serving.streaming.attach(made.id, tty=False, stdin=True, stdout=True, stderr=True)
    done = run(program, "exec", protocol, "-stdin", url, stdin=b"hello\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"got hello\n" + b"".join(b"%d\n" % number for number in range(1, 1001))
    assert done.stderr == b"bad\n"


@BOTH
def test_attach_sets_the_size_of_the_containers_terminal(
    program: str, protocol: str, serving: Serving, pods: Pods
) -> None:
    script = (
        "i=0; until [ \"$(stty size)\" = '33 77' ] || [ $i = 100 ]; do sleep 0.1; i=$((i+1)); done; stty size"
    )
    made = started(pods, shell(f"read x; {script}", terminal=True, stdin=True))
    url = serving.streaming.attach(made.id, tty=True, stdin=True, stdout=True, stderr=False)
    done = run(program, "exec", protocol, "-tty", "-stdin", "-size", "77x33", url, stdin=b"go\n")
    assert b"33 77" in done.stdout, (done.stdout, done.stderr)


class Forward:
    """A client that forwards one port."""

    def __init__(self, program: str, protocol: str, url: str, port: int) -> None:
        self._process = subprocess.Popen(
            [program, "forward", protocol, url, f"0:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Forward:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate()
        self.port = int(line.split()[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.said = self._process.communicate(timeout=30)[1]

    def exchange(self, data: bytes) -> bytes:
        """Send all, end that direction, and take all that comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as joined:
            sender = threading.Thread(target=self._send, args=(joined, data))
            sender.start()
            found = bytearray()
            while piece := joined.recv(1 << 16):
                found += piece
            sender.join()
            return bytes(found)

    def _send(self, joined: socket.socket, data: bytes) -> None:
        joined.sendall(data)
        joined.shutdown(socket.SHUT_WR)


TUNNELS = pytest.mark.parametrize("protocol", ["spdy", "tunnel"])


@TUNNELS
def test_a_forwarded_port_carries_both_directions_to_their_ends(
    program: str, protocol: str, serving: Serving, pods: Pods
) -> None:
    sandbox = run_sandbox(pods, pod())
    url = serving.streaming.port_forward(sandbox.id, ())
    data = os.urandom(MIB) * 20
    with echo(pods, sandbox.id, 8080), Forward(program, protocol, url, 8080) as forward:
        assert forward.exchange(b"hello") == b"hello"
        assert forward.exchange(data) == data
        with ThreadPoolExecutor(20) as pool:
            sent = [b"%d" % number * 10_000 for number in range(20)]
            assert list(pool.map(forward.exchange, sent)) == sent


@TUNNELS
def test_a_port_that_nobody_listens_on_is_told_and_the_rest_goes_on(
    program: str, protocol: str, serving: Serving, pods: Pods
) -> None:
    sandbox = run_sandbox(pods, pod())
    with Forward(program, protocol, serving.streaming.port_forward(sandbox.id, ()), 81) as forward:
        assert forward.exchange(b"x") == b""
    assert re.search(rb"port 81.*connection refused", forward.said), forward.said
