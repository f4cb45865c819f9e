"""Pulls from servers that misbehave: broken connections, wrong bytes, failing mirrors, hostile redirects."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gzip
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from orlop.image.auth import Credentials
from orlop.image.fake_sink import FakeSink
from orlop.image.pull import Pulled, pull
from orlop.image.registries.load import parse
from orlop.image.registries.model import RegistriesConf, Registry
from orlop.image.settings import ImageSettings
from orlop.kit import limits
from orlop.kit.errors import (
    Corrupt,
    Denied,
    InvalidInput,
    LimitExceeded,
    NotFound,
    OrlopError,
    TimedOut,
    Unavailable,
    Unsupported,
)
from tests.image.faulty import Faulty, cut, faulty, instead, redirect, stall, status
from tests.support.images import Image, Index, Layer, digest, tar
from tests.support.registry import Authority

pytestmark = pytest.mark.host
FAST = ImageSettings(attempts=4, backoff=0.005, backoff_max=0.02, read_timeout=5.0)
IMPATIENT = ImageSettings(attempts=2, backoff=0.005, backoff_max=0.02, read_timeout=0.3)


def image_of(*sizes: int, **changes: Any) -> Image:
    layers = tuple(
        Layer(tar({f"file{number}": bytes(range(256)) * (size // 256 + 1)}), "")
        for number, size in enumerate(sizes)
    )
    return Image(layers, **changes)


def run(server: Faulty | str, sink: FakeSink | None = None, **options: Any) -> Pulled:
    name = server if isinstance(server, str) else server.reference()
    options.setdefault("registries", everything_insecure())
    options.setdefault("settings", FAST)
    return asyncio.run(pull(name, sink or FakeSink(), **options))


def everything_insecure() -> RegistriesConf:
    return RegistriesConf(registries=(Registry("127.0.0.1", "127.0.0.1", insecure=True),))


def insecure(*servers: Faulty, mirrors: tuple[Faulty, ...] = ()) -> RegistriesConf:
    text = ""
    for server in servers:
        text += f'[[registry]]\nlocation = "{server.address}"\ninsecure = true\n'
        for mirror in mirrors:
            text += f'[[registry.mirror]]\nlocation = "{mirror.address}"\ninsecure = true\n'
    return parse(text)


def path_of(layer: Layer) -> str:
    return f"blobs/{layer.digest}"


# Broken connections


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_blob_is_resumed_where_it_broke(ranges: bool) -> None:
    image = image_of(300_000)
    with faulty(image) as server:
        server.ranges = ranges
        server.faults[path_of(image.layers[0])] = [cut(100_000), cut(50_000 if ranges else 150_000)]
        done = run(server, registries=insecure(server))
        asked = [headers.get("range") for headers in server.asked(image.layers[0].digest)]
    assert asked == [None, "bytes=100000-", "bytes=150000-"]
    assert done.fetched_layers == 1


def test_a_registry_that_restarts_in_the_middle_is_waited_for() -> None:
    image = image_of(300_000)
    layer = image.layers[0]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with faulty(image) as server:
            server.always[path_of(layer)] = cut(100_000)
            options = ImageSettings(attempts=8, backoff=0.1, backoff_max=0.4)
            waiting = pool.submit(run, server, registries=insecure(server), settings=options)
            while not server.asked(layer.digest):
                time.sleep(0.01)
        time.sleep(0.7)
        with faulty(image, port=int(server.address.rpartition(":")[2])) as server:
            assert waiting.result(30).fetched_layers == 1
            assert int(server.asked(layer.digest)[0]["range"].removeprefix("bytes=").rstrip("-")) >= 100_000


def test_attempts_start_anew_once_a_broken_blob_got_further() -> None:
    image = image_of(12 * limits.MIB)
    with faulty(image) as server:
        server.faults[path_of(image.layers[0])] = [cut(limits.MIB + 1)] * 8
        assert run(server, registries=insecure(server)).fetched_layers == 1


def test_a_connection_that_breaks_always_is_an_error_in_the_end() -> None:
    image = image_of(300_000)
    with faulty(image) as server:
        server.always[path_of(image.layers[0])] = cut(1)
        with pytest.raises(Unavailable, match="connection broke"):
            run(server, registries=insecure(server))
        assert len(server.asked(image.layers[0].digest)) == FAST.attempts


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_errors_are_tried_again(code: int) -> None:
    image = image_of(1000)
    with faulty(image) as server:
        server.ping = None
        server.faults["manifests/1"] = [status(code), status(code)]
        server.faults[path_of(image.layers[0])] = [status(code)]
        run(server, registries=insecure(server))
        assert len(server.asked("manifests/1")) == 3


def test_retry_after_is_honoured_within_reason() -> None:
    image = image_of(1000)
    with faulty(image) as server:
        server.faults["manifests/1"] = [status(429, Retry_After="1")]
        begin = time.monotonic()
        run(server, registries=insecure(server))
        assert time.monotonic() - begin >= 0.95
        server.always["manifests/1"] = status(429, Retry_After="86400")
        with pytest.raises(Unavailable, match="rate"):
            run(server, registries=insecure(server))
        assert len(server.asked("manifests/1")) == 3


def test_a_stalled_server_times_out() -> None:
    image = image_of(100_000)
    with faulty(image) as server:
        server.always[path_of(image.layers[0])] = stall(5.0, after=1000)
        with pytest.raises(TimedOut):
            run(server, registries=insecure(server), settings=IMPATIENT)


def test_nobody_listening_is_said_in_plain_words() -> None:
    with faulty(image_of(10)) as server:
        pass
    with pytest.raises(Unavailable, match="connection refused") as caught:
        run(server, registries=insecure(server))
    assert server.reference() in caught.value.subject
    assert caught.value.hint


# Wrong bytes


def test_a_blob_with_other_bytes_is_refused_and_never_committed() -> None:
    image = image_of(5000)
    layer = image.layers[0]
    with faulty(image) as server:
        server.always[path_of(layer)] = instead(b"x" * len(layer.blob))
        sink = FakeSink()
        with pytest.raises(Corrupt, match="digest"):
            run(server, sink, registries=insecure(server))
        assert not sink.layers
        assert not sink.images


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("change", [b"more", None])
def test_a_blob_of_another_size_is_refused(chunked: bool, change: bytes | None) -> None:
    image = image_of(5000)
    layer = image.layers[0]
    body = layer.blob + change if change else layer.blob[:-1]
    with faulty(image) as server:
        server.always[path_of(layer)] = instead(body, chunked=chunked)
        with pytest.raises(Corrupt if change or not chunked else OrlopError):
            run(server, registries=insecure(server))


@pytest.mark.parametrize(
    "span", ["", "bytes 0-9/10", "bytes 1000-5/7", "items 1000-2000/3000", "bytes 1000-"]
)
def test_a_resumed_blob_must_go_on_where_it_broke(span: str) -> None:
    image = image_of(100_000)
    layer = image.layers[0]
    with faulty(image) as server:
        wrong = instead(layer.blob[1000:], code=206, Content_Range=span)
        server.faults[path_of(layer)] = [cut(1000), wrong]
        with pytest.raises(Corrupt, match="resumes at"):
            run(server, registries=insecure(server))


def test_a_manifest_whose_digest_is_wrong_is_refused_whatever_the_header_says() -> None:
    image, other = image_of(10), image_of(2000)
    with faulty(image) as server:
        lie = instead(other.manifest, other.media_type, Docker_Content_Digest=image.digest)
        server.always[f"manifests/{image.digest}"] = lie
        with pytest.raises(Corrupt, match="digest"):
            run(f"{server.address}/ship/cargo@{image.digest}", registries=insecure(server))


@pytest.mark.parametrize("size", [limits.MANIFEST_SIZE + 1, 10 * limits.MANIFEST_SIZE])
def test_a_manifest_without_end_is_refused(size: int) -> None:
    with faulty(image_of(10)) as server:
        server.always["manifests/1"] = instead(b" " * size, chunked=True)
        with pytest.raises(LimitExceeded):
            run(server, registries=insecure(server))


def test_a_config_of_absurd_size_is_not_fetched() -> None:
    image = image_of(10)
    document = json.loads(image.manifest)
    document["config"]["size"] = limits.IMAGE_CONFIG_SIZE + 1
    with faulty(image) as server:
        server.content["manifests/1"] = (json.dumps(document).encode(), image.media_type)
        with pytest.raises(LimitExceeded, match="config"):
            run(server, registries=insecure(server))
        assert not server.asked(image.id)


def test_an_index_that_lies_about_a_size_is_refused() -> None:
    image = image_of(10)
    index = Index((image,))
    document = json.loads(index.manifest)
    document["manifests"][0]["size"] += 1
    with faulty(index) as server:
        server.content["manifests/1"] = (json.dumps(document).encode(), index.media_type)
        with pytest.raises(Corrupt, match="index says"):
            run(server, registries=insecure(server))


def test_layers_and_diff_ids_must_be_as_many() -> None:
    image = image_of(10, 20)
    document = json.loads(image.manifest)
    document["layers"].pop()
    with faulty(image) as server:
        server.content["manifests/1"] = (json.dumps(document).encode(), image.media_type)
        with pytest.raises(Corrupt, match="1 layers, its config 2"):
            run(server, registries=insecure(server))


def test_indexes_nest_but_not_without_end() -> None:
    image = image_of(10)
    nested: Image | Index = image
    for _ in range(limits.INDEX_DEPTH):
        nested = Index((nested,))
    with faulty(nested, Index((nested,))) as server:
        assert run(server.reference("1"), registries=insecure(server)).id == image.id
        with pytest.raises(LimitExceeded, match="indexes within"):
            run(server.reference("2"), registries=insecure(server))


def test_an_image_for_windows_and_one_for_another_machine_asked_for_are_refused() -> None:
    with faulty(image_of(10, os="windows"), image_of(10, architecture="s390x")) as server:
        with pytest.raises(Unsupported, match="windows"):
            run(server.reference("1"), registries=insecure(server))
        with pytest.raises(NotFound, match="linux/s390x"):
            run(server.reference("2"), registries=insecure(server), platform="linux/amd64")
        assert run(server.reference("2"), registries=insecure(server)).fetched_layers == 1


def test_a_message_of_a_server_cannot_drive_the_terminal() -> None:
    with faulty(image_of(10)) as server, pytest.raises(NotFound) as caught:
        run(server.reference("absent"), registries=insecure(server))
    assert "\x1b" not in str(caught.value)
    assert "such" in str(caught.value)


# Mirrors


def test_a_mirror_that_fails_is_asked_once_in_a_pull() -> None:
    image = image_of(1000, 2000, 3000, 4000)
    with faulty(image) as server, faulty() as mirror:
        mirror.ping = status(503)
        done = run(server, registries=insecure(server, mirrors=(mirror,)), settings=FAST)
        assert done.fetched_layers == 4
        assert len(mirror.requests) <= 4  # two attempts, by https and by http
        assert all(path.endswith("/v2/") for _, path, _ in mirror.requests)


def test_a_mirror_that_nobody_serves_costs_no_second_attempt() -> None:
    image = image_of(1000, 2000)
    with faulty() as mirror:
        pass
    with faulty(image) as server:
        assert run(server, registries=insecure(server, mirrors=(mirror,))).fetched_layers == 2


def test_a_mirror_that_never_answers_costs_one_time_limit_not_one_a_blob() -> None:
    image = image_of(1000, 2000, 3000)
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent, faulty(image) as server:
        mirror = Faulty(f"127.0.0.1:{silent.getsockname()[1]}", {})
        options = ImageSettings(connect_timeout=0.3, read_timeout=30.0)
        run(server, registries=insecure(server, mirrors=(mirror,)), settings=options)
        silent.settimeout(0)
        connections = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                connections += 1
    assert connections == 2  # by https and by http, once


def test_a_mirror_is_used_before_its_registry_and_the_name_stays() -> None:
    image = image_of(1000)
    with faulty(image) as server, faulty(image) as mirror:
        sink = FakeSink()
        run(server, sink, registries=insecure(server, mirrors=(mirror,)))
        assert not server.requests
        assert list(sink.names) == [server.reference()]


def test_a_blob_that_a_mirror_lacks_comes_from_the_registry_and_the_rest_from_the_mirror() -> None:
    image = image_of(1000, 2000, 3000)
    missing, *others = image.layers
    with faulty(image) as server, faulty(image) as mirror:
        del mirror.content[path_of(missing)]
        assert run(server, registries=insecure(server, mirrors=(mirror,))).fetched_layers == 3
        assert server.asked(missing.digest)
        assert not any(server.asked(layer.digest) for layer in others)


def test_a_mirror_that_breaks_in_the_middle_is_followed_by_the_registry_at_that_place() -> None:
    image = image_of(200_000)
    layer = image.layers[0]
    with faulty(image) as server, faulty(image) as mirror:
        mirror.always[path_of(layer)] = cut(10_000)
        assert run(server, registries=insecure(server, mirrors=(mirror,))).fetched_layers == 1
        assert server.asked(layer.digest)[0]["range"] == "bytes=30000-"


def test_a_mirror_with_forged_bytes_is_left_out_and_the_layer_fetched_again() -> None:
    image = image_of(5000, 6000)
    layer = image.layers[0]
    with faulty(image) as server, faulty(image) as mirror:
        mirror.always[path_of(layer)] = instead(b"x" * len(layer.blob))
        sink = FakeSink()
        run(server, sink, registries=insecure(server, mirrors=(mirror,)))
        assert layer.tar in sink.layers.values()


def test_all_places_are_named_where_none_has_the_image() -> None:
    with faulty() as server, faulty() as mirror, pytest.raises(NotFound) as caught:
        run(server, registries=insecure(server, mirrors=(mirror,)))
    assert mirror.address in str(caught.value)
    assert server.address in str(caught.value)


def test_a_short_name_is_looked_for_in_one_registry_after_the_other() -> None:
    image = image_of(100)
    with faulty() as first, faulty(image) as second:
        search = f'unqualified-search-registries = ["{first.address}", "{second.address}"]\n'
        hosts = "".join(
            f'[[registry]]\nlocation = "{one.address}"\ninsecure = true\n' for one in (first, second)
        )
        assert run("ship/cargo:1", registries=parse(search + hosts)).name == second.reference()
        with pytest.raises(NotFound) as caught:
            run("ship/other", registries=parse(search + hosts))
    assert first.address in str(caught.value)
    assert second.address in str(caught.value)


def test_a_blocked_registry_is_not_asked() -> None:
    with faulty(image_of(10)) as server:
        blocked = parse(f'[[registry]]\nlocation = "{server.address}"\nblocked = true')
        with pytest.raises(Denied, match="blocks"):
            run(server, registries=blocked)
        assert not server.requests


# Credentials


def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    image = image_of(1000)
    layer = image.layers[0]
    with faulty(image) as server, faulty(image) as elsewhere:
        server.ping = status(401, WWW_Authenticate='Basic realm="x"')
        server.always[path_of(layer)] = redirect(f"http://{elsewhere.address}/v2/a/b/blobs/{layer.digest}")
        run(server, registries=insecure(server), credentials=Credentials("user", "secret"))
        assert server.asked(layer.digest)[0]["authorization"].startswith("Basic ")
        assert "authorization" not in elsewhere.asked(layer.digest)[0]


def test_a_challenge_of_a_host_that_a_redirect_led_to_is_not_answered() -> None:
    image = image_of(1000)
    layer = image.layers[0]
    with faulty(image) as server, faulty(image) as thief:
        server.always[path_of(layer)] = redirect(f"http://{thief.address}/v2/a/b/blobs/{layer.digest}")
        thief.always[path_of(layer)] = status(401, WWW_Authenticate='Basic realm="give"')
        with pytest.raises(Denied):
            run(server, registries=insecure(server), credentials=Credentials("user", "secret"))
        assert not any("authorization" in headers for _, _, headers in thief.requests)


def test_a_redirect_without_end_is_an_error() -> None:
    image = image_of(1000)
    with faulty(image) as server:
        loop = f"http://{server.address}/v2/ship/cargo/manifests/1"
        server.always["manifests/1"] = redirect(loop)
        with pytest.raises(Corrupt, match="redirects"):
            run(server, registries=insecure(server))
        server.always["manifests/1"] = redirect("file:///etc/passwd")
        with pytest.raises(Corrupt, match="redirects"):
            run(server, registries=insecure(server))


@pytest.mark.parametrize(
    "realm", ["http://127.0.0.1:1/token", "file:///etc/passwd", "https://", "https://a:b@c/t", "x"]
)
def test_credentials_are_not_sent_to_a_hostile_realm(
    realm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    monkeypatch.setenv("HOME", str(tmp_path))
    with faulty(image_of(10), authority=authority) as server:
        folder = tmp_path / ".config/containers/certs.d" / server.address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.file.read_bytes())
        server.ping = status(401, WWW_Authenticate=f'Bearer realm="{realm}",service="s"')
        with pytest.raises(OrlopError) as caught:
            run(server, registries=RegistriesConf(), credentials=Credentials("user", "secret"))
    assert isinstance(caught.value, Denied | Corrupt)


def test_a_redirect_from_https_to_http_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path / "ca")
    monkeypatch.setenv("HOME", str(tmp_path))
    image = image_of(10)
    with faulty(image, authority=authority) as server, faulty(image) as plain:
        folder = tmp_path / ".config/containers/certs.d" / server.address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.file.read_bytes())
        server.always["manifests/1"] = redirect(f"http://{plain.address}/v2/ship/cargo/manifests/1")
        with pytest.raises(Corrupt, match="plain http"):
            run(server, registries=RegistriesConf())
        assert not plain.requests


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"token": 5}', b'{"token": "a\\nb: c"}', b" " * (2 * limits.MIB)]
)
def test_a_token_server_that_talks_nonsense_is_an_error(body: bytes) -> None:
    with faulty(image_of(10)) as server:
        server.content["a/token"] = (body, "application/json")
        realm = f'Bearer realm="http://{server.address}/a/token"'
        server.ping = status(401, WWW_Authenticate=realm)
        with pytest.raises((Corrupt, LimitExceeded)):
            run(server, registries=insecure(server))


# Many at once


def test_one_layer_that_fails_ends_the_others_at_once() -> None:
    image = image_of(1000, 2000, 3000)
    with faulty(image) as server:
        for layer in image.layers[1:]:
            server.always[path_of(layer)] = stall(30.0, after=10)
        server.always[path_of(image.layers[0])] = status(404)
        begin = time.monotonic()
        with pytest.raises(NotFound):
            run(server, registries=insecure(server), settings=ImageSettings(read_timeout=60.0))
        assert time.monotonic() - begin < 15  # far from the stall's and the time limit's length


def test_a_cancelled_pull_ends_at_once_and_leaves_nothing() -> None:
    image = image_of(1000)
    sink = FakeSink()

    async def cancelled(server: Faulty) -> None:
        task = asyncio.create_task(
            pull(server.reference(), sink, registries=insecure(server), settings=ImageSettings())
        )
        while not server.asked(image.layers[0].digest):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with faulty(image) as server:
        server.always[path_of(image.layers[0])] = stall(30.0, after=10)
        begin = time.monotonic()
        asyncio.run(cancelled(server))
        assert time.monotonic() - begin < 15
    assert sink.leases == 0
    assert not sink.layers


def test_two_pulls_at_once_fetch_a_layer_once() -> None:
    image = image_of(100_000, 200_000)
    sink = FakeSink()

    async def both(server: Faulty) -> list[Pulled]:
        one = pull(server.reference(), sink, registries=insecure(server), settings=FAST)
        two = pull(server.reference(), sink, registries=insecure(server), settings=FAST)
        return list(await asyncio.gather(one, two))

    with faulty(image) as server:
        done = asyncio.run(both(server))
        assert sum(one.fetched_layers for one in done) == 2
        assert all(len(server.asked(layer.digest)) == 1 for layer in image.layers)


def test_layers_are_fetched_side_by_side_but_not_more_than_allowed() -> None:
    image = image_of(*range(1000, 1008))
    running, most = 0, 0
    lock = threading.Lock()
    with faulty(image) as server:

        def slow(handler: Any, data: bytes, media_type: str) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.05)
            with lock:
                running -= 1
            handler.serve(data, media_type)

        for layer in image.layers:
            server.always[path_of(layer)] = slow
        run(server, registries=insecure(server), settings=ImageSettings(parallel_blobs=3))
    assert 2 <= most <= 3


def test_meters_add_up_to_the_sizes_of_the_blobs() -> None:
    image = image_of(300_000)
    moved: dict[str, int] = {}
    ended: list[str] = []

    class Meter:
        def __init__(self, label: str) -> None:
            self.label = label

        def advance(self, amount: int) -> None:
            moved[self.label] = moved.get(self.label, 0) + amount

        def note(self, text: str) -> None:
            pass

        def done(self) -> None:
            ended.append(self.label)

    class Meters:
        def meter(self, label: str, total: int | None) -> Meter:
            return Meter(label)

    with faulty(image) as server:
        server.faults[path_of(image.layers[0])] = [cut(1000)]
        run(server, registries=insecure(server), progress=Meters())
    assert sorted(moved.values()) == sorted([len(image.config_bytes), len(image.layers[0].blob)])
    assert len(ended) == 2


def test_a_server_that_packs_what_it_was_not_asked_to_pack_is_noticed() -> None:
    image = image_of(5000)
    layer = image.layers[0]
    with faulty(image) as server:
        server.always[path_of(layer)] = instead(gzip.compress(layer.blob), Content_Encoding="gzip")
        with pytest.raises(Corrupt):
            run(server, registries=insecure(server))
        assert server.asked(layer.digest)[0]["accept-encoding"] == "identity"


def test_a_stalled_pull_leaves_the_loops_threads_to_others() -> None:
    image = image_of(*range(1000, 20_000, 1000))

    async def both(server: Faulty) -> None:
        task = asyncio.create_task(
            pull(
                server.reference(),
                FakeSink(),
                registries=insecure(server),
                settings=ImageSettings(parallel_blobs=64),
            )
        )
        while len([path for _, path, _ in server.requests if "/blobs/" in path]) < 15:
            await asyncio.sleep(0.01)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 10) == "done"
        task.cancel()
        await asyncio.wait([task])

    with faulty(image) as server:
        for layer in image.layers:
            server.always[path_of(layer)] = stall(30.0)
        asyncio.run(both(server))


@pytest.mark.parametrize("key", ["parallel_blobs", "attempts", "read_timeout"])
def test_settings_that_cannot_work_are_refused(key: str) -> None:
    values: dict[str, Any] = {key: 0}
    with pytest.raises(InvalidInput, match=key):
        ImageSettings(**values)


# Policies


def test_policies_decide_who_is_asked() -> None:
    first, second = image_of(1000), image_of(2000)
    sink = FakeSink()
    with faulty(first) as server:
        conf = insecure(server)
        with pytest.raises(NotFound, match="not on this machine"):
            run(server, sink, registries=conf, policy="never")
        assert run(server, sink, registries=conf, policy="missing").fetched_layers == 1
        asked = len(server.requests)
        assert run(server, sink, registries=conf, policy="missing").id == first.id
        assert run(server, sink, registries=conf, policy="never").id == first.id
        assert len(server.requests) == asked
        assert run(server, sink, registries=conf, policy="newer").id == first.id
        server.add(second, "1")
        assert run(server, sink, registries=conf, policy="missing").id == first.id
        assert run(server, sink, registries=conf, policy="newer").id == second.id
        assert run(server, sink, registries=conf).fetched_layers == 0
    assert run(server, sink, registries=conf, policy="newer").id == second.id
    with pytest.raises(Unavailable):
        run(server, sink, registries=conf)


def test_an_index_and_a_digest_are_recorded_under_what_was_asked_for() -> None:
    image = image_of(1000)
    index = Index((image, image_of(1000, architecture="arm64")))
    sink = FakeSink()
    with faulty(index) as server:
        pinned = f"{server.address}/ship/cargo:1@{digest(index.manifest)}"
        done = run(pinned, sink, registries=insecure(server))
        assert done.name == pinned
        assert run(server, sink, registries=insecure(server), policy="newer").id == image.id
    record = sink.images[done.id]
    assert record.digest == image.digest
    assert record.digests == (index.digest, image.digest)
    assert record.manifest == image.manifest


@pytest.mark.parametrize("name", ["oci:folder", "docker-archive:x.tar", "", "UPPER"])
def test_a_name_that_is_no_reference_is_refused(name: str) -> None:
    with pytest.raises(OrlopError):
        run(name, registries=RegistriesConf(search=()))
