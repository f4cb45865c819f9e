"""The image service: pulls (credentials, joined, limited), lists, status, removal, what images take."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import image as translate
from orlop.image.auth import Credentials
from orlop.kit.errors import InvalidInput
from orlop.store.model import StoredImage
from tests.cri.objects import running_container, sandbox
from tests.support.cri import Client, daemon
from tests.support.images import Image, Layer, busybox_image, busybox_layer, push, tar
from tests.support.node import temporary_node
from tests.support.registry import Registry, registry

host = pytest.mark.host
USERS = {"ship": "cargo"}
NAME = "docker.io/library/busybox:latest"


def stored(*names: str, digests: tuple[str, ...] = ("sha256:" + "d" * 64,)) -> StoredImage:
    return StoredImage(
        id="sha256:" + "1" * 64,
        digest=digests[0],
        names=names,
        digests=digests,
        layers=(),
        size=7,
        created="",
    )


# Translation


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, "")),
        ("1002", (1002, "")),
        ("1003:1004", (1003, "")),
        ("www-data", (None, "www-data")),
        ("www-data:1004", (None, "www-data")),
        ("0", (0, "")),
        ("4294967296", (None, "4294967296")),  # would be root, cut to 32 bits
        ("-1", (None, "-1")),
        ("²", (None, "²")),
    ],
)
def test_an_image_says_who_it_runs_as(user: str, expected: tuple[int | None, str]) -> None:
    assert translate.owner(user) == expected


def test_an_image_is_known_by_its_tags_and_by_its_digests_in_each_repository() -> None:
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    found = stored("q.io/x:1", "q.io/x:2", "r.io/y:1", f"s.io/z@{second}", digests=(first, second))
    tags, digests = translate.names(found)
    assert tags == ["q.io/x:1", "q.io/x:2", "r.io/y:1"]
    assert digests[0] == f"q.io/x@{first}"
    assert set(digests) == {
        f"{name}@{each}" for name in ("q.io/x", "r.io/y", "s.io/z") for each in (first, second)
    }
    assert translate.names(stored()) == ([], [])


@pytest.mark.parametrize(
    ("pattern", "is_pinned"),
    [
        ("q.io/x:1", True),
        ("q.io/*", True),
        ("1" * 64, True),
        ("busybox:latest", True),
        ("docker.io/library/busybox:latest", True),
        ("q.io/x", False),
        ("q.io/x:2", False),
    ],
)
def test_a_pattern_pins_whole_names_and_ids(pattern: str, is_pinned: bool) -> None:
    assert translate.is_pinned(stored("q.io/x:1", NAME), (pattern,)) is is_pinned


def encoded(pair: str) -> str:
    return base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (pb.AuthConfig(), None),
        (pb.AuthConfig(username="u", password="p"), Credentials("u", "p")),
        (pb.AuthConfig(auth=encoded("u:p:q\0")), Credentials("u", "p:q")),
        (pb.AuthConfig(identity_token="t"), Credentials("", "", identity_token="t")),
        (pb.AuthConfig(registry_token="t"), Credentials("", "", registry_token="t")),
        (pb.AuthConfig(username="u", server_address="https://q.io/v1/"), Credentials("u", "")),
        (pb.AuthConfig(username="u", server_address="q.io"), Credentials("u", "")),
        (pb.AuthConfig(username="u", server_address="https://evil.io"), None),
        (pb.AuthConfig(username="u", server_address="https://q.io.evil.io"), None),
        (pb.AuthConfig(username="u", server_address="https://q.io@evil.io"), None),
    ],
)
def test_credentials_of_every_kind_are_read_and_go_to_their_own_server_only(
    auth: pb.AuthConfig, expected: Credentials | None
) -> None:
    assert translate.credentials(auth, "q.io/x:1") == expected


def test_docker_hub_is_meant_by_its_old_address() -> None:
    auth = pb.AuthConfig(username="u", server_address="https://index.docker.io/v1/")
    assert translate.credentials(auth, "busybox") == Credentials("u", "")


@pytest.mark.parametrize("auth", ["no base64", encoded("no colon"), base64.b64encode(b"\xff:\xff").decode()])
def test_credentials_that_cannot_be_read_are_an_error_without_them_in_it(auth: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        translate.credentials(pb.AuthConfig(auth=auth), "q.io/x:1")
    assert auth not in str(caught.value)


# The daemon


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    """A registry that wants a password, called `ships.test` by the node."""
    with registry(users=USERS) as running:
        conf = tmp_path / "registries.conf"
        conf.write_text(
            f'[[registry]]\nprefix = "ships.test"\nlocation = "{running.address}"\ninsecure = true\n'
        )
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        yield running


@pytest.fixture
def puller(source: Registry) -> Iterator[Client]:
    config = '[cri]\nparallel_pulls = 2\npinned_images = ["ships.test/pinned:*"]\n'
    config += "[image]\nattempts = 2\nbackoff = 0.01\n"
    with temporary_node(config=config) as node, daemon(node) as serving, Client(serving.socket) as client:
        yield client


def spec(name: str) -> pb.ImageSpec:
    return pb.ImageSpec(image=name)


def pull(client: Client, name: str, **auth: str) -> str:
    wanted = pb.AuthConfig(**(auth or {"username": "ship", "password": "cargo"}))
    return str(client.PullImage(pb.PullImageRequest(image=spec(name), auth=wanted), timeout=60).image_ref)


def status(client: Client, name: str) -> pb.Image | None:
    answer = client.ImageStatus(pb.ImageStatusRequest(image=spec(name)))
    return answer.image if answer.HasField("image") else None


def remove(client: Client, name: str) -> None:
    client.RemoveImage(pb.RemoveImageRequest(image=spec(name)))


@host
def test_a_pulled_image_is_the_same_one_by_all_its_names(source: Registry, puller: Client) -> None:
    image = busybox_image({"User": "33:33"})
    push(source, "sloop:1", image)
    identifier = pull(puller, "ships.test/sloop:1")
    assert identifier == image.id
    found = status(puller, "ships.test/sloop:1")
    assert found is not None
    assert list(found.repo_tags) == ["ships.test/sloop:1"]
    assert list(found.repo_digests) == [f"ships.test/sloop@{image.digest}"]
    assert found.size > 100_000
    assert found.uid.value == 33
    for name in (identifier, identifier[7:], identifier[7:19], f"ships.test/sloop@{image.digest}"):
        assert status(puller, name) == found
    listed = puller.ListImages(pb.ListImagesRequest()).images
    assert found in listed
    assert len(listed) == 2  # with the node's busybox
    only = pb.ImageFilter(image=spec("ships.test/sloop:1"))
    assert list(puller.ListImages(pb.ListImagesRequest(filter=only)).images) == [found]
    streamed = [each for part in puller.StreamImages(pb.StreamImagesRequest()) for each in part.images]
    assert streamed == list(listed)


@host
def test_one_registrys_image_is_not_taken_for_anothers(source: Registry, puller: Client) -> None:
    push(source, "sloop:1", busybox_image())
    pull(puller, "ships.test/sloop:1")
    for name in ("sloop:1", "other.test/sloop:1", "localhost/sloop:1", "ships.test/sloop", "ffff"):
        assert status(puller, name) is None, name
    assert status(puller, "busybox") is not None  # docker.io/library/, as a pull would read it


@host
def test_a_verbose_status_has_the_images_own_documents(puller: Client) -> None:
    answer = puller.ImageStatus(pb.ImageStatusRequest(image=spec(NAME), verbose=True))
    assert '"imageSpec"' in answer.info["info"]
    assert not puller.ImageStatus(pb.ImageStatusRequest(image=spec(NAME))).info


@host
def test_credentials_of_the_request_open_the_registry_and_wrong_ones_do_not(
    source: Registry, puller: Client
) -> None:
    push(source, "sloop:1", busybox_image())
    for auth in (
        {"username": "ship", "password": "wrong"},
        {"username": "ship", "server_address": "else.test"},
    ):
        with pytest.raises(grpc.RpcError) as caught:
            pull(puller, "ships.test/sloop:1", **auth)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "wrong" not in caught.value.details()
    pull(puller, "ships.test/sloop:1", auth=encoded("ship:cargo"))


@host
def test_a_registry_that_does_not_answer_is_told_as_the_kubelet_knows_it(puller: Client) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        pull(puller, "127.0.0.1:1/sloop:1")
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert caught.value.details().startswith("RegistryUnavailable: ")


@host
def test_an_image_that_is_not_there_and_a_name_that_is_none_have_their_codes(puller: Client) -> None:
    for name, code in (
        ("ships.test/nothing:1", grpc.StatusCode.NOT_FOUND),
        ("Not A Name", grpc.StatusCode.INVALID_ARGUMENT),
        ("", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            pull(puller, name)
        assert caught.value.code() is code, name


@host
def test_a_pull_for_an_unknown_runtime_handler_is_refused(puller: Client) -> None:
    wanted = pb.ImageSpec(image=NAME, runtime_handler="nothing")
    with pytest.raises(grpc.RpcError, match="nothing") as caught:
        puller.PullImage(pb.PullImageRequest(image=wanted))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@host
def test_pulls_of_one_image_at_the_same_time_are_one_pull(source: Registry, puller: Client) -> None:
    image = Image((busybox_layer(), Layer(tar({"f": os.urandom(300_000)}))), {"Cmd": ["sh"]})
    push(source, "sloop:1", image)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: pull(puller, "ships.test/sloop:1"), range(8)))
    assert set(found) == {image.id}
    with StalledRegistry() as stalled, ThreadPoolExecutor(4) as pool:
        name = f"127.0.0.1:{stalled.port}/sloop:1"
        results = [pool.submit(pull, puller, name) for _ in range(3)]
        stalled.wait_for(1)
        time.sleep(0.3)
        assert stalled.most == 1
        results.append(pool.submit(pull, puller, name, username="another", password="x"))
        stalled.wait_for(2)  # for another user it is another pull
        stalled.release()
        assert all(isinstance(each.exception(timeout=60), grpc.RpcError) for each in results)


@host
def test_a_pull_goes_on_when_its_client_gives_up_and_a_repeat_finds_the_image(
    source: Registry, puller: Client
) -> None:
    image = Image((busybox_layer(), Layer(tar({"f": os.urandom(3_000_000)}))), {"Cmd": ["sh"]})
    push(source, "sloop:1", image)
    wanted = pb.AuthConfig(username="ship", password="cargo")
    request = pb.PullImageRequest(image=spec("ships.test/sloop:1"), auth=wanted)
    with pytest.raises(grpc.RpcError) as caught:
        puller.PullImage(request, timeout=0.02)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    deadline = time.monotonic() + 30
    while status(puller, "ships.test/sloop:1") is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert pull(puller, "ships.test/sloop:1") == image.id


@host
def test_removal_takes_all_names_and_repeats_are_harmless(source: Registry, puller: Client) -> None:
    image = busybox_image({"Env": ["A=1"]})
    for name in ("sloop:1", "sloop:2", "boat:1"):
        push(source, name, image)
        pull(puller, f"ships.test/{name}")
    found = status(puller, image.id)
    assert found is not None
    assert len(found.repo_tags) == 3
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: remove(puller, "ships.test/sloop:1"), range(5)))
    assert status(puller, image.id) is None
    assert status(puller, "ships.test/boat:1") is None
    remove(puller, image.id)
    remove(puller, "0" * 64)


@host
def test_images_in_use_and_pinned_ones_stay(source: Registry, puller: Client) -> None:
    image = busybox_image({"Env": ["A=1"]})
    push(source, "pinned:1", image)
    pull(puller, "ships.test/pinned:1")
    found = status(puller, "ships.test/pinned:1")
    assert found is not None
    assert found.pinned
    used = status(puller, NAME)
    assert used is not None
    assert not used.pinned
    running_container(puller, sandbox(puller), NAME, ["sleep", "100"])
    for name, why in (("ships.test/pinned:1", "pinned"), (NAME, "is used by container")):
        with pytest.raises(grpc.RpcError, match=why) as caught:
            remove(puller, name)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert status(puller, name) is not None


@host
def test_what_images_take_grows_with_a_pull_and_shrinks_with_a_removal(
    source: Registry, puller: Client
) -> None:
    def taken() -> tuple[int, int]:
        answer = puller.ImageFsInfo(pb.ImageFsInfoRequest())
        images, containers = answer.image_filesystems[0], answer.container_filesystems[0]
        assert os.path.isdir(images.fs_id.mountpoint)
        assert images.fs_id == containers.fs_id
        assert images.timestamp > 0
        return images.used_bytes.value, images.inodes_used.value

    before = taken()
    push(source, "sloop:1", Image((Layer(tar({"f": os.urandom(500_000), "g": b""})),), {"Cmd": ["sh"]}))
    pull(puller, "ships.test/sloop:1")
    after = taken()
    assert after[0] - before[0] >= 500_000
    assert after[1] - before[1] >= 2
    remove(puller, "ships.test/sloop:1")
    assert taken() == before


@host
def test_no_more_pulls_than_allowed_are_at_work_at_once(source: Registry, puller: Client) -> None:
    with StalledRegistry() as stalled, ThreadPoolExecutor(4) as pool:
        names = [f"127.0.0.1:{stalled.port}/n{number}:1" for number in range(4)]
        results = [pool.submit(pull, puller, name) for name in names]
        stalled.wait_for(2)
        time.sleep(0.5)
        assert stalled.most == 2  # parallel_pulls, of four that were asked for
        stalled.release()
        for each in results:
            assert isinstance(each.exception(timeout=60), grpc.RpcError)


class StalledRegistry:
    """Accepts connections and says nothing until it is released; counts those that are open at once."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._released = threading.Event()
        self.most = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> StalledRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
        self._listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that accepts
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self._released.is_set():
                connection.close()
                continue
            self._open.append(connection)
            self.most = len(self._open)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while len(self._open) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def release(self) -> None:
        self._released.set()
        for connection in self._open:
            connection.close()
