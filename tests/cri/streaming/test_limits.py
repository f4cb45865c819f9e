"""Tokens, bounds and TLS: who may connect, how often, with how much."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orlop.cri.streaming.settings import StreamingSettings
from orlop.cri.streaming.tokens import Tokens
from orlop.kit import limits
from orlop.kit.errors import Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from orlop.pod.context import Pods
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from tests.cri.streaming.raw import answer, asked, connected, exec_streams, request, spdy_request
from tests.cri.streaming.serving import Serving
from tests.cri.streaming.serving import serving as serving_
from tests.pod.make import pod, sleeper, started
from tools.builds import local

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]


def test_a_token_is_good_once() -> None:
    tokens: Tokens[int] = Tokens()
    token = tokens.add(7)
    assert (tokens.take(token), tokens.take(token), tokens.take("")) == (7, None, None)


def test_a_token_is_good_for_a_while() -> None:
    tokens: Tokens[int] = Tokens(life=0.0)
    assert tokens.take(tokens.add(7)) is None


def test_tokens_that_nobody_uses_are_bounded_and_forgotten() -> None:
    tokens: Tokens[int] = Tokens(count=3)
    for number in range(3):
        tokens.add(number)
    with pytest.raises(LimitExceeded):
        tokens.add(3)
    old: Tokens[int] = Tokens(count=3, life=0.0)
    for number in range(10):
        old.add(number)
    assert len(old) == 1


def test_a_url_used_twice_or_at_another_place_is_not_found(serving: Serving, container: str) -> None:
    url = serving.execute(container, "true")
    client = exec_streams(url, "stdin", "stdout", "stderr")
    client.to_the_end()
    assert asked(url) == 404
    other = serving.execute(container, "true")
    assert asked(other.replace("/exec/", "/attach/")) == 404
    assert asked(other) == 404  # it was tried
    assert asked(f"{serving.streaming.base_url}/nothing/here") == 404


def test_methods_and_upgrades_that_are_none_are_refused(serving: Serving, container: str) -> None:
    assert asked(serving.execute(container, "true"), method="DELETE") == 405
    assert asked(serving.execute(container, "true")) == 400
    upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    assert asked(serving.execute(container, "true"), upgrade, "POST") == 400
    unknown = {**upgrade, "X-Stream-Protocol-Version": "v9.channel.k8s.io"}
    assert asked(serving.execute(container, "true"), unknown, "POST") == 403
    websocket = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    other = {**websocket, "Sec-WebSocket-Protocol": "v9.channel.k8s.io"}
    assert asked(serving.execute(container, "true"), other) == 403
    assert asked(serving.execute(container, "true"), websocket, "POST") == 405
    assert asked(serving.execute(container, "true"), {**websocket, "Sec-WebSocket-Version": "12"}) == 400


def test_a_request_has_bounds(serving: Serving, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(serving.execute(container, "true"), {"X-Much": "x" * 500_000}) == 431
    assert asked(serving.execute(container, "true"), {"Content-Length": "5\r\n\r\nhello"}, "POST") == 400
    monkeypatch.setattr(limits, "STREAM_REQUEST_TIME", 0.2)
    with connected(serving.execute(container, "true")) as slow:
        slow.sendall(b"GET /")
        assert slow.recv(100) == b""


def test_clients_at_the_same_time_are_bounded(pods: Pods, container: str) -> None:
    with serving_(pods, max_streams=2, exec_grace=0.0) as small:
        urls = [small.execute(container, "sleep", "300") for _ in range(3)]
        clients = [exec_streams(url, "stdin", "stdout", "stderr") for url in urls[:2]]
        assert asked(urls[2]) == 503
        for client in clients:
            client.socket.close()
        small.idle()
        exec_streams(urls[2], "stdin", "stdout", "stderr").socket.close()  # it was not used up
        small.idle()


def test_what_cannot_work_has_no_url(serving: Serving, pods: Pods, container: str) -> None:
    streams = {"stdin": True, "stdout": True}
    with pytest.raises(InvalidInput):
        serving.streaming.exec(container, ("sh",), tty=True, stderr=True, **streams)
    with pytest.raises(InvalidInput):
        serving.streaming.exec(container, ("sh",), tty=False, stdin=False, stdout=False, stderr=False)
    with pytest.raises(InvalidInput):
        serving.execute(container)
    with pytest.raises(NotFound):
        serving.execute("0" * 64, "sh")
    with pytest.raises(NotFound):
        serving.streaming.port_forward("0" * 64, ())
    made = started(pods, sleeper())
    stop_container(pods, made.id, 0)
    with pytest.raises(Conflict):
        serving.execute(made.id, "sh")
    with pytest.raises(Conflict):
        serving.streaming.attach(made.id, tty=False, stdin=True, stdout=True, stderr=True)
    sandbox = run_sandbox(pods, pod())
    with pytest.raises(InvalidInput):
        serving.streaming.port_forward(sandbox.id, (0,))
    stop_sandbox(pods, sandbox.id, 0)
    with pytest.raises(Conflict):
        serving.streaming.port_forward(sandbox.id, ())


def test_a_container_that_ends_between_the_url_and_its_use_is_told(serving: Serving, pods: Pods) -> None:
    made = started(pods, sleeper())
    execute = serving.execute(made.id, "sh")
    attach = serving.streaming.attach(made.id, tty=False, stdin=True, stdout=True, stderr=True)
    stop_container(pods, made.id, 0)
    for url in (execute, attach):
        outcome = exec_streams(url, "stdin", "stdout", "stderr").outcome()
        assert outcome["reason"] == "InternalError"
        assert "does not run" in str(outcome["message"])


def test_an_address_that_is_taken_is_said(pods: Pods) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made = Serving(pods, StreamingSettings(port=taken.getsockname()[1]))
        with pytest.raises(Unavailable):
            made.start()
        made.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "0.0.0.0"},
        {"address": "node7"},
        {"tls_cert": "/x"},
        {"port": 70000},
        {"base_url": "node7"},
        {"max_streams": 0},
        {"tls_min_version": "1.1"},
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        StreamingSettings(**wrong)  # type: ignore[arg-type]


def test_urls_have_the_base_that_is_configured(pods: Pods, container: str) -> None:
    with serving_(pods, base_url="https://node7:99/") as made:
        assert made.execute(container, "true").startswith("https://node7:99/exec/")
    with serving_(pods, address="::1") as six:
        assert exec_streams(six.execute(container, "true"), "stdin", "stdout", "stderr").outcome()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "cert").write_bytes(made.public_bytes(pem))
    plain = serialization.NoEncryption()
    (tmp_path / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return str(tmp_path / "cert"), str(tmp_path / "key")


@pytest.mark.parametrize("protocol", ["spdy", "websocket"])
def test_tls(pods: Pods, container: str, certificate: tuple[str, str], protocol: str) -> None:
    program = local("streaming", Path(__file__).parent / "goclient")
    cert, key = certificate
    with serving_(pods, tls_cert=cert, tls_key=key, tls_min_version="1.3") as secure:
        url = secure.execute(container, "cat")
        data = b"secret" * 500_000
        done = subprocess.run(
            [program, "exec", protocol, "-stdin", url],
            input=data,
            capture_output=True,
            env={"CA_FILE": cert},
            timeout=60,
            check=False,
        )
        assert done.stdout == data, done.stderr
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(cert)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            connected(url, old)
        with connected(url) as plain:
            plain.sendall(request(url, {}))
            assert b"HTTP" not in plain.recv(100)
        secure.streaming.reload_tls()


def test_clients_without_a_certificate_are_refused_where_one_is_wanted(
    pods: Pods, container: str, certificate: tuple[str, str]
) -> None:
    cert, key = certificate
    with serving_(pods, tls_cert=cert, tls_key=key, tls_ca=cert) as secure:
        url = secure.execute(container, "true")
        context = ssl.create_default_context(cafile=cert)
        with (
            pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)),
            connected(url, context) as none,
        ):
            none.sendall(spdy_request(url, "v4.channel.k8s.io"))
            answer(none)
        context.load_cert_chain(cert, key)
        with connected(url, context) as good:
            good.sendall(spdy_request(url, "v4.channel.k8s.io"))
            assert answer(good)[0] == 101


def test_a_certificate_that_is_none_is_said(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    made = Serving(pods, StreamingSettings(tls_cert=str(tmp_path / "x"), tls_key=str(tmp_path / "x")))
    with pytest.raises(InvalidInput):
        made.start()
    made.stop()
