"""HTTP as clients, proxies and attackers speak it: RFC 9110 and RFC 9112 at the registry's own socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from orlop.kit import limits
from tests.registry.support import MANIFEST, Client, Running, digest, serving
from tests.support.registry import Authority

pytestmark = pytest.mark.host

_PING = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"


def _until_closed(connection: socket.socket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


def _answers(data: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def test_a_connection_serves_many_requests(client: Client) -> None:
    client.ask("GET", "/v2/")
    first = client.connection.sock
    for _ in range(3):
        assert client.ask("GET", "/v2/").status == 200
        assert client.ask("GET", "/v2/none/manifests/x").status == 404
    assert client.connection.sock is first


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    body = b"xyz"
    path = f"/v2/t/pipelined/blobs/uploads/?digest={digest(body)}".encode()
    post = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n" + body
    last = _PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with running.socket() as connection:
        connection.sendall(_PING + post + _PING + last)
        assert _answers(_until_closed(connection)) == [200, 201, 200, 200]


def test_chunked_body_is_followed_by_the_next_request(running: Running) -> None:
    body = b"abcdef"
    path = f"/v2/t/chunked/blobs/uploads/?digest={digest(body)}".encode()
    post = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    post += b"2;ext=1\r\nab\r\n4\r\ncdef\r\n0\r\nTrailer: yes\r\n\r\n"
    with running.socket() as connection:
        connection.sendall(post + _PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert _answers(_until_closed(connection)) == [201, 200]


def test_body_byte_by_byte(running: Running) -> None:
    body = b"slowly"
    path = f"/v2/t/slowly/blobs/uploads/?digest={digest(body)}".encode()
    data = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\n" + body
    with running.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(data)):
            connection.sendall(data[place : place + 1])
        assert _answers(_until_closed(connection)) == [201]


def test_expect_100_continue_is_answered_before_the_body(running: Running) -> None:
    body = b"expected"
    head = (
        f"POST /v2/t/expect/blobs/uploads/?digest={digest(body)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    )
    with running.socket() as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert _answers(_until_closed(connection)) == [201]


def test_expect_100_continue_of_what_is_refused_is_not_answered_with_it(running: Running) -> None:
    head = "POST /v2/UPPER/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    with running.socket() as connection:
        connection.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode())
        assert _answers(_until_closed(connection)) == [400]


def test_refused_while_much_is_being_sent_the_answer_arrives(client: Client, name: str) -> None:
    answer = client.ask("PUT", f"/v2/{name}/manifests/t", b" " * 9_000_000, {"Content-Type": MANIFEST})
    assert answer.status == 413
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_blob_beyond_the_limit_is_refused_before_it_comes(running: Running, method: str) -> None:
    client = running.client()
    path = (
        client.begin("t/large") if method == "PATCH" else f"/v2/t/large/blobs/uploads/?digest={digest(b'')}"
    )
    with running.socket() as connection:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {limits.REGISTRY_BLOB + 1}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_head_of_any_page_has_no_body(running: Running) -> None:
    with running.socket() as connection:
        connection.sendall(b"HEAD /v2/none/manifests/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = _until_closed(connection)
    assert _answers(answer) == [404]
    assert answer.endswith(b"\r\n\r\n")


def test_http_1_0_is_answered_and_closed(running: Running) -> None:
    with running.socket() as connection:
        connection.sendall(b"GET /v2/ HTTP/1.0\r\n\r\n")
        assert _answers(_until_closed(connection)) == [200]


_LENGTH_AND_CHUNKED = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 4\r\n\r\nabc",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /v2/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nLong: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_malformed_requests_are_refused_and_the_connection_ends(
    running: Running, request_bytes: bytes
) -> None:
    with running.socket() as connection:
        connection.sendall(request_bytes)
        statuses = _answers(_until_closed(connection))
    assert len(statuses) == 1
    assert 400 <= statuses[0] < 600
    assert running.client().ask("GET", "/v2/").status == 200


def test_length_and_chunked_together_smuggle_nothing(running: Running) -> None:
    """Whichever of the two a proxy in front believes: what follows is no request of another client."""
    head = b"POST /v2/a/blobs/uploads/?digest=" + digest(b"").encode() + b" HTTP/1.1\r\nHost: x\r\n"
    hidden = b"DELETE /v2/a/blobs/" + digest(b"").encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    with running.socket() as connection:
        connection.sendall(head + _LENGTH_AND_CHUNKED + hidden)
        connection.shutdown(socket.SHUT_WR)
        statuses = _answers(_until_closed(connection))
    assert len(statuses) == 1


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n", b"-1\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"1" * 40 + b"\r\n", b"a" * 70_000]
)
def test_malformed_chunks_are_refused(running: Running, chunk: bytes) -> None:
    head = b"POST /v2/a/blobs/uploads/?digest=" + digest(b"abc").encode() + b" HTTP/1.1\r\nHost: x\r\n"
    with running.socket() as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        connection.shutdown(socket.SHUT_WR)
        assert _answers(_until_closed(connection)) in ([400], [])
    assert running.client().ask("GET", f"/v2/a/blobs/{digest(b'abc')}").status == 404


def test_what_a_client_sends_stays_on_one_line_of_the_log(running: Running) -> None:
    with running.socket() as connection:
        connection.sendall(
            b"GET /v2/a/manifests/\xc2\x85forged%0aline HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"User-Agent: \xc2\x85agent \x1b[31m\r\n\r\n"
        )
        _until_closed(connection)
    log = running.log
    assert "\x85" not in log
    assert "\x1b" not in log
    assert all(line.startswith("time=") for line in log.splitlines())


def test_clients_that_send_nothing_hold_up_nobody(running: Running) -> None:
    silent = [running.socket() for _ in range(100)]
    half = [running.socket() for _ in range(50)]
    try:
        for connection in half:
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost:")
        assert running.client().ask("GET", "/v2/").status == 200
    finally:
        for connection in (*silent, *half):
            connection.close()


def test_more_connections_than_the_limit_are_told_to_come_again(running: Running) -> None:
    held = [running.socket() for _ in range(limits.REGISTRY_CONNECTIONS)]
    try:
        for connection in held:
            connection.sendall(_PING)
            connection.recv(65536)  # it is accepted, not only queued by the kernel
        answers = set()
        for _ in range(5):
            with running.socket() as connection:
                answer = connection.recv(65536)
                answers.add(answer.split()[1])
                assert b"Retry-After: " in answer
        assert answers == {b"429"}
    finally:
        for connection in held:
            connection.close()
    deadline = time.monotonic() + 20
    while running.client().ask("GET", "/v2/").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_that_leaves_in_the_middle_of_an_answer_harms_nobody(running: Running, name: str) -> None:
    client = running.client()
    blob = client.push_blob(name, os.urandom(30_000_000))
    for _ in range(3):
        with running.socket() as connection:
            connection.sendall(f"GET /v2/{name}/blobs/{blob} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1000)
    assert digest(client.ask("GET", f"/v2/{name}/blobs/{blob}").body) == blob


def test_sigterm_lets_a_request_end_and_takes_no_new_one() -> None:
    with serving() as running:
        body = os.urandom(100_000)
        with running.socket() as connection, running.socket() as idle:
            head = f"POST /v2/a/blobs/uploads/?digest={digest(body)} HTTP/1.1\r\nHost: x\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50_000])
            idle.sendall(_PING)
            assert idle.recv(65536).startswith(b"HTTP/1.1 200")
            running.child.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""
            with pytest.raises(OSError, match=r".*"):
                running.socket()
            connection.sendall(body[50_000:])
            assert _answers(_until_closed(connection)) == [201]
        assert running.child.wait(20) == 0


def test_unix_socket() -> None:
    with serving(listen="unix:/tmp/orlop-registry-test.sock") as running:
        assert running.url == "unix:/tmp/orlop-registry-test.sock"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect("/tmp/orlop-registry-test.sock")
            connection.sendall(_PING)
            assert _answers(connection.recv(65536)) == [200]
    Path("/tmp/orlop-registry-test.sock").unlink(missing_ok=True)


def test_systemd_is_told_when_requests_are_answered(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20)
        with serving(env={"NOTIFY_SOCKET": path}) as running:
            assert notify.recv(4096).startswith(b"READY=1")
            running.child.send_signal(signal.SIGTERM)
            assert notify.recv(4096) == b"STOPPING=1"


def test_address_that_is_taken_is_said(running: Running) -> None:
    from tests.registry.support import orlop

    done = orlop(running.node, "registry", "serve", "--listen", running.address)
    assert done.returncode == 6
    assert b"cannot be listened on" in done.stderr


def test_ipv6_and_localhost() -> None:
    with serving(listen="[::1]:0") as running:
        assert running.url.startswith("http://[::1]:")
        assert running.client().ask("GET", "/v2/").status == 200


@pytest.mark.parametrize("clients", [False, True])
def test_tls_and_certificates_of_clients(tmp_path: Path, clients: bool) -> None:
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("server")
    options = ["--tls-cert", str(certificate), "--tls-key", str(key)]
    options += ["--tls-client-ca", str(authority.file)] if clients else []
    with serving(*options) as running:
        assert running.url.startswith("https://")
        running.context = ssl.create_default_context(cafile=str(authority.file))
        if clients:
            with pytest.raises((ssl.SSLError, OSError)):
                running.client().ask("GET", "/v2/")
            running.context.load_cert_chain(*authority.issue("client", client=True))
        client = running.client()
        data = os.urandom(5_000_000)
        blob = client.push_blob("a", data)
        assert client.ask("GET", f"/v2/a/blobs/{blob}").body == data
        part = client.ask("GET", f"/v2/a/blobs/{blob}", headers={"Range": "bytes=1000000-2999999"})
        assert part.body == data[1_000_000:3_000_000]
        with running.socket() as plain:  # plain HTTP at a TLS port
            plain.sendall(_PING)
            assert b"200" not in plain.recv(65536)


def test_tls_certificate_that_is_none_is_said(tmp_path: Path) -> None:
    from tests.registry.support import orlop, temporary_root

    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nonsense")
    with temporary_root() as node:
        done = orlop(node, "registry", "serve", "--listen", "127.0.0.1:0", "--tls-cert", str(wrong))
    assert done.returncode == 2
    assert b"cannot be used" in done.stderr


def test_eight_clients_push_and_pull_the_same_blobs_at_once(running: Running) -> None:
    contents = [os.urandom(200_000) for _ in range(10)]
    failures: list[object] = []
    uploads = Path(running.node.root, "uploads")
    begun = set(uploads.iterdir()) if uploads.is_dir() else set()  # by other tests, and left

    def work(number: int) -> None:
        client = running.client()
        try:
            for data in contents:
                client.push_blob(f"t/eight/{number % 3}", data)
            client.push_image(f"t/eight/{number % 3}", f"t{number}", *contents)
            for data in contents:
                got = client.ask("GET", f"/v2/t/eight/{number % 3}/blobs/{digest(data)}").body
                assert got == data
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    names = {digest(data).partition(":")[2] for data in contents}
    assert names <= {path.name for path in Path(running.node.root, "blobs", "sha256").iterdir()}
    assert set(uploads.iterdir()) <= begun
