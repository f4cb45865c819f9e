"""The daemon's doors: who may open them, and what whoever can reach them can use up."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import stat
import threading
import urllib.parse
from pathlib import Path

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.status import failure
from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from tests.cri.requests import box, eventually, remove, run, started
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node

pytestmark = pytest.mark.host


def test_sockets_are_roots_from_their_first_moment_cve_2024_25621(node: Node) -> None:
    """A folder that is watched while the daemon starts: none is ever open to others."""
    seen: set[tuple[str, int, int]] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                for entry in os.scandir(node.state):
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISSOCK(status.st_mode):
                            seen.add((entry.name, stat.S_IMODE(status.st_mode), status.st_uid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with daemon(node):
            folder = os.stat(node.state)
            assert stat.S_IMODE(folder.st_mode) & 0o022 == 0
    finally:
        over.set()
        watcher.join()
    assert {name for name, _, _ in seen} >= {"orlop.sock", "nri.sock"}
    assert all(uid == 0 for _, _, uid in seen)
    assert {mode for _, mode, _ in seen} <= {0o600, 0o660}, seen
    assert {mode for name, mode, _ in seen if name == "nri.sock"} == {0o600}


@pytest.mark.parametrize(("mode", "owner", "group"), [(0o777, 0, 0), (0o755, 1000, 0), (0o775, 0, 1000)])
def test_a_folder_that_others_write_into_holds_no_socket(
    mode: int, owner: int, group: int, node: Node, tmp_path: Path
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    os.chown(folder, owner, group)
    folder.chmod(mode)
    code, words = Daemon(node, "--listen", f"unix://{folder}/orlop.sock").refuses()
    assert code != 0
    assert "others may write" in words


def test_a_link_or_a_file_in_the_sockets_place_is_not_removed(node: Node, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "orlop.sock").symlink_to(tmp_path / "precious")
    code, words = Daemon(node, "--listen", f"unix://{tmp_path}/orlop.sock").refuses()
    assert code != 0
    assert "no socket" in words
    assert (tmp_path / "precious").read_text() == "precious"


def _http2(generator: random.Random) -> bytes:
    """The preface, then frames of any kind, length and content."""
    data = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if generator.random() < 0.8 else b""
    for _ in range(generator.randrange(1, 40)):
        body = generator.randbytes(generator.randrange(0, 200))
        length = len(body) if generator.random() < 0.8 else generator.randrange(0, 2**24)
        head = length.to_bytes(3, "big") + bytes([generator.randrange(12), generator.randrange(256)])
        data += head + generator.randrange(2**32).to_bytes(4, "big") + body
    return data


def test_noise_on_the_socket_ends_that_client_alone(shared_node: Node, shared: Client) -> None:
    generator = random.Random(16)
    for _ in range(150):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(shared_node.in_state("orlop.sock"))
            with contextlib.suppress(OSError):
                client.sendall(_http2(generator))
    assert shared.Version(pb.VersionRequest(), timeout=20).runtime_name


def test_a_request_beyond_its_bound_is_refused_and_the_next_answered(shared: Client) -> None:
    huge = pb.PodSandboxConfig(annotations={"x": "y" * (limits.CRI_MESSAGE + 1)})
    with pytest.raises(Exception, match="larger than max"):
        shared.RunPodSandbox(pb.RunPodSandboxRequest(config=huge))
    assert shared.Status(pb.StatusRequest(), timeout=20).status.conditions


def test_any_bytes_for_a_message_are_answered(shared_node: Node, shared: Client) -> None:
    """Of every method, streams too."""
    generator = random.Random(4)
    refused = 0
    with grpc.insecure_channel(f"unix:{shared_node.in_state('orlop.sock')}") as channel:
        for service in pb.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                call = channel.unary_stream(f"/runtime.v1.{service.name}/{method.name}")
                for data in (b"\xff" * 64, generator.randbytes(500), b"\x0a\xff\xff\xff\xff\x0f"):
                    with pytest.raises(grpc.RpcError) as caught:
                        list(call(data, timeout=20))
                    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, method.name
                    refused += 1
    assert refused == 3 * 41
    assert shared.Version(pb.VersionRequest(), timeout=20).runtime_name


def test_clients_that_send_nothing_keep_nobody_out() -> None:
    """Slow and idle clients of the socket, the streaming server and the metrics page, all at once."""
    config = '[serve]\nmetrics_address = "127.0.0.1:0"\n'
    with temporary_node(config=config) as node, daemon(node) as running, Client(running.socket) as client:
        sandbox = run(client)
        identifier = started(client, sandbox, box("sleep 1000"))
        request = pb.ExecRequest(container_id=identifier, cmd=["true"], stdout=True)
        url = urllib.parse.urlsplit(client.Exec(request).url)
        page = next(line for line in running.said().splitlines() if "metrics at" in line)
        port = int(page.partition("127.0.0.1:")[2].partition("/")[0])
        with contextlib.ExitStack() as stack:
            for where in [(url.hostname, url.port)] * 200 + [("127.0.0.1", port)] * 60:
                idle = stack.enter_context(socket.socket())
                idle.connect(where)
                with contextlib.suppress(OSError):  # a page that has enough clients closes at once
                    idle.sendall(b"GET / HTTP/1.1\r\n")
            for _ in range(200):
                idle = stack.enter_context(socket.socket(socket.AF_UNIX))
                idle.connect(running.socket)
                idle.sendall(b"PRI * HTTP")
            assert client.Status(pb.StatusRequest(), timeout=20).status.conditions
            assert client.Exec(request, timeout=20).url
        before = len(os.listdir(f"/proc/{running.pid}/fd"))
        eventually(lambda: len(os.listdir(f"/proc/{running.pid}/fd")) <= before)
        eventually(lambda: len(os.listdir(f"/proc/{running.pid}/fd")) < 200, seconds=40)
        remove(client, sandbox)


def test_guessed_tokens_open_nothing_cve_2018_1002105(shared: Client) -> None:
    """Nor does one that was issued open another container's streams, or a second time."""
    sandbox = run(shared)
    identifier = started(shared, sandbox, box("sleep 1000"))
    url = urllib.parse.urlsplit(
        shared.Exec(pb.ExecRequest(container_id=identifier, cmd=["id"], stdout=True)).url
    )
    token = url.path.rpartition("/")[2]
    assert len(token) >= 8
    others = {
        urllib.parse.urlsplit(
            shared.Exec(pb.ExecRequest(container_id=identifier, cmd=["id"], stdout=True)).url
        ).path.rpartition("/")[2]
        for _ in range(50)
    }
    assert len(others | {token}) == 51
    assert not {each[:4] for each in others} <= {token[:4]}
    generator = random.Random(5)
    guesses = ["", token[:-1], token + "x", token.swapcase(), "../" + token, "%00"]
    guesses += [
        "".join(generator.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=len(token))) for _ in range(50)
    ]
    for guess in guesses:
        with socket.create_connection((url.hostname or "", url.port or 0), timeout=20) as client:
            words = f"GET /exec/{guess} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            client.sendall(words.encode() + b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 4"), guess
    remove(shared, sandbox)


def test_a_refusal_fits_into_what_a_client_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest's report cannot carry what is logged here from one process to another.
    monkeypatch.setattr(logging.getLogger("orlop.cri.status"), "disabled", True)
    for text in ("x" * 5_000_000, "\N{PILE OF POO}" * 1_000_000, "\ud800" * 10):
        said = failure("Any", InvalidInput(text, "is wrong", hint="correct it")).message
        assert len(said.encode()) * 3 < 16 * limits.KIB
        crash = failure("Any", ValueError(text)).message
        assert len(crash.encode()) * 3 < 16 * limits.KIB


def test_requests_of_one_kind_do_not_use_up_all_others() -> None:
    """However many execs and stops wait: there are requests left for what lists, makes and removes."""
    waiting = limits.CRI_EXEC_THREADS + limits.CRI_STOP_THREADS
    assert waiting + limits.CRI_WORKER_THREADS + limits.CRI_QUERY_THREADS < limits.CRI_REQUESTS


def test_a_line_of_the_log_is_one_line_whatever_names_hold(serving: Daemon) -> None:
    forged = "x\n2026-01-01T00:00:00Z info orlop: forged"
    with Client(serving.socket) as client:
        for request in (
            pb.RemoveImageRequest(image=pb.ImageSpec(image=forged)),
            pb.RemoveImageRequest(image=pb.ImageSpec(image="y" * 3_000_000)),
        ):
            client.RemoveImage(request)
        with contextlib.suppress(Exception):
            client.PullImage(pb.PullImageRequest(image=pb.ImageSpec(image=forged)))
        asked = pb.PodSandboxConfig(metadata=pb.PodSandboxMetadata(name=forged, uid=forged, namespace=forged))
        with contextlib.suppress(Exception):
            client.RunPodSandbox(pb.RunPodSandboxRequest(config=asked))
    assert not [line for line in serving.said().splitlines() if line.startswith("2026-01-01")]
    assert len(serving.said()) < 200_000
