"""The parts of the registry client by themselves: challenges, pauses, proxies, tokens."""

from __future__ import annotations

import asyncio
import email.utils
import http.server
import threading
import time
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.image.auth import Credentials
from orlop.image.fake_sink import FakeSink
from orlop.image.pull import pull
from orlop.image.registries.load import parse as parse_registries
from orlop.image.settings import ImageSettings
from orlop.image.transport import http as transport
from orlop.image.transport import retry
from orlop.image.transport.challenge import Challenge, parse
from orlop.kit.errors import Denied, Unavailable
from tests.image.faulty import Faulty, faulty, status
from tests.support.images import Image, Layer, tar


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="a b"', [Challenge("basic", {"realm": "a b"})]),
        (
            'Bearer realm="https://a/t?x=y,z",service="s",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a/t?x=y,z", "service": "s", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            "BEARER Realm=x , service = y, Basic realm=z",
            [Challenge("bearer", {"realm": "x", "service": "y"}), Challenge("basic", {"realm": "z"})],
        ),
        (r'Basic realm="a \"b\" c"', [Challenge("basic", {"realm": 'a "b" c'})]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ("Negotiate, Basic realm=x", [Challenge("negotiate", {}), Challenge("basic", {"realm": "x"})]),
        ('Basic realm="never ends', [Challenge("basic", {})]),
        ("", []),
        ("=,;", []),
    ],
)
def test_a_challenge_is_read_as_the_rfc_has_it(header: str, found: list[Challenge]) -> None:
    assert parse([header]) == found


@given(st.lists(st.text(max_size=60), max_size=3))
def test_a_hostile_challenge_is_never_an_accident(headers: list[str]) -> None:
    parse(headers)


def test_pauses_grow_up_to_their_bound_and_differ() -> None:
    settings = ImageSettings(backoff=1.0, backoff_max=8.0)
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0), (10_000, 8.0)):
        found = {retry.pause(settings, attempt) for _ in range(20)}
        assert all(longest / 2 <= pause <= longest for pause in found)
        assert len(found) > 1


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry.asked_for("7") == 7.0
    soon = retry.asked_for(email.utils.formatdate(time.time() + 100, usegmt=True))
    assert soon is not None
    assert 90 < soon <= 100
    assert retry.asked_for(email.utils.formatdate(0, usegmt=True)) == 0.0
    for text in ("", "-1", "soon", "1e9", "9" * 50):
        assert retry.asked_for(text) is None


def test_the_environments_proxy_is_for_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert transport._proxy("https://registry.example/v2/") == "http://proxy.example:3128"
    assert transport._proxy("http://registry.example/v2/") == ""
    for host in ("inside.example", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"):
        assert transport._proxy(f"https://{host}/v2/") == ""


def test_a_token_that_a_registry_refuses_is_renewed_once() -> None:
    image = Image((Layer(tar({"a": b"b"})),))
    blob = f"blobs/{image.layers[0].digest}"
    with faulty(image) as server:
        refused = status(401, WWW_Authenticate=f'Bearer realm="http://{server.address}/a/token"')
        conf = parse_registries(f'[[registry]]\nlocation = "{server.address}"\ninsecure = true')
        server.content["a/token"] = (b'{"access_token": "abc"}', "application/json")
        server.ping = refused
        server.faults[blob] = [refused]
        done = asyncio.run(pull(server.reference(), FakeSink(), registries=conf))
        assert done.fetched_layers == 1
        assert len(server.asked("a/token")) == 2
        assert [headers["authorization"] for headers in server.asked(blob)] == ["Bearer abc"] * 2
        server.always[blob] = refused
        with pytest.raises(Denied):
            asyncio.run(pull(server.reference(), FakeSink(), registries=conf))


def test_explicit_credentials_are_not_for_mirrors() -> None:
    image = Image((Layer(tar({"a": b"b"})),))
    with faulty(image) as server, faulty() as mirror:
        conf = parse_registries(
            f'[[registry]]\nlocation = "{server.address}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.address}"\ninsecure = true\n'
        )
        for one in (server, mirror):
            one.ping = status(401, WWW_Authenticate='Basic realm="x"')
        credentials = Credentials("user", "secret")
        asyncio.run(pull(server.reference(), FakeSink(), registries=conf, credentials=credentials))
        assert not any("authorization" in headers for _, _, headers in mirror.requests)
        assert len(mirror.asked("manifests/1")) == 1
        assert not any("blobs" in path for _, path, _ in mirror.requests)


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Answers for registry.example with what `served` has."""

    served: Faulty
    seen: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        assert self.headers["Proxy-Authorization"] == "Basic dXNlcjpzZWNyZXQ="
        self.seen.append(self.path)
        name = "/".join(self.path.split("/")[-2:])
        body, media_type = self.served.content.get(name, (b"{}", "application/json"))
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_pull_goes_through_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image((Layer(tar({"a": b"b"})),))
    conf = parse_registries('[[registry]]\nlocation = "registry.example"\ninsecure = true')
    settings = ImageSettings(backoff=0.01)
    with faulty(image) as server, http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        _Proxy.served = server
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:1")
        monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.server_address[1]}")
        done = asyncio.run(
            pull("registry.example/ship/cargo:1", FakeSink(), registries=conf, settings=settings)
        )
        proxy.shutdown()
    assert done.fetched_layers == 1
    assert "http://registry.example/v2/ship/cargo/manifests/1" in _Proxy.seen
    with pytest.raises(Unavailable, match=r"proxy 127\.0\.0\.1:1 fails") as caught:
        asyncio.run(
            pull("registry.example/a", FakeSink(), registries=conf, settings=settings, tls_verify=True)
        )
    assert "secret" not in str(caught.value)
