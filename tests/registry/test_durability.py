"""Uploads go on after anything; what is acknowledged is there; what is collected is what nobody needs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.kit import limits
from orlop.kit.node import Node
from orlop.registry.upload_files import Uploads
from orlop.store.repositories import HeldManifest
from orlop.store.store import Store
from tests.registry.support import (
    INDEX,
    LAYER,
    MANIFEST,
    Client,
    descriptor,
    digest,
    image,
    orlop,
    serving,
    temporary_root,
)

pytestmark = pytest.mark.host

_DATA = os.urandom(3_000_000)


def test_upload_goes_on_after_a_kill() -> None:
    with temporary_root() as node:
        with serving(node=node) as running:
            client = running.client()
            where = client.begin("a")
            assert client.ask("PATCH", where, _DATA[:1_000_000]).status == 202
            running.stop(signal.SIGKILL)
        with serving(node=node) as running:
            client = running.client()
            status = client.ask("GET", where)
            assert (status.status, status.headers["range"]) == (204, "0-999999")
            headers = {"Content-Range": f"1000000-{len(_DATA) - 1}"}
            answer = client.ask("PUT", f"{where}?digest={digest(_DATA)}", _DATA[1_000_000:], headers)
            assert answer.status == 201
            assert client.ask("GET", f"/v2/a/blobs/{digest(_DATA)}").body == _DATA


def test_upload_killed_in_the_middle_of_a_chunk_goes_on_where_it_was() -> None:
    with temporary_root() as node:
        with serving(node=node) as running:
            where = running.client().begin("a")
            with running.socket() as connection:
                head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(_DATA)}\r\n\r\n"
                connection.sendall(head.encode() + _DATA[:1_500_000])
                _until(lambda: running.client().ask("GET", where).headers["range"] != "0-0")
                running.stop(signal.SIGKILL)
        with serving(node=node) as running:
            client = running.client()
            sent = int(client.ask("GET", where).headers["range"].partition("-")[2]) + 1
            assert 0 < sent <= 1_500_000
            answer = client.ask("PUT", f"{where}?digest={digest(_DATA)}", _DATA[sent:])
            assert answer.status == 201
            assert client.ask("GET", f"/v2/a/blobs/{digest(_DATA)}").body == _DATA


def test_client_that_breaks_off_may_go_on() -> None:
    with serving() as running:
        client = running.client()
        where = client.begin("a")
        with running.socket() as connection:
            head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head.encode() + b"f4240\r\n" + _DATA[:1_000_000] + b"\r\n5\r\nab")
            _until(lambda: int(client.ask("GET", where).headers["range"][2:]) >= 999_999)
        _until(lambda: client.ask("PATCH", where, b"", {"Content-Length": "0"}).status == 202)
        sent = int(client.ask("GET", where).headers["range"][2:]) + 1
        assert sent in (1_000_000, 1_000_002)
        rest = _DATA[1_000_000:] if sent == 1_000_000 else None
        if rest is not None:
            assert client.ask("PUT", f"{where}?digest={digest(_DATA)}", rest).status == 201


def test_two_processes_on_one_store_share_uploads_and_repositories() -> None:
    with temporary_root() as node, serving(node=node) as one, serving(node=node) as two:
        first, second = one.client(), two.client()
        where = first.begin("a")
        assert first.ask("PATCH", where, _DATA[:1000]).status == 202
        assert second.ask("PATCH", where, _DATA[1000:2000], {"Content-Range": "1000-1999"}).status == 202
        # what the first computed of the digest is of no use any more
        assert (
            first.ask("PATCH", where, _DATA[2000:], {"Content-Range": f"2000-{len(_DATA) - 1}"}).status == 202
        )
        assert second.ask("PUT", f"{where}?digest={digest(_DATA)}", b"").status == 201
        assert first.ask("GET", f"/v2/a/blobs/{digest(_DATA)}").body == _DATA


def test_two_requests_of_one_upload_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as running:
        where = running.client().begin("a")
        with running.socket() as connection:
            head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
            connection.sendall(head.encode() + b"x" * 500)
            time.sleep(0.2)
            answer = running.client().ask("PATCH", where, b"y" * 100)
            assert (answer.status, answer.codes) == (409, ["BLOB_UPLOAD_INVALID"])
            connection.sendall(b"x" * 500)
            assert connection.recv(1000).startswith(b"HTTP/1.1 202")
        wanted = b"x" * 1000
        assert running.client().ask("PUT", f"{where}?digest={digest(wanted)}", b"").status == 201


@pytest.mark.parametrize("round_", range(4))
def test_killed_at_any_moment_nothing_is_there_in_part(round_: int) -> None:
    """Clients push while the server is killed: what it acknowledged is whole afterwards."""
    acknowledged: list[tuple[str, bytes]] = []

    def push(client: Client, number: int) -> None:
        try:
            for count in range(1000):
                data = os.urandom(50_000 + number)
                client.push_blob("a", data)
                acknowledged.append((digest(data), data))
                client.push_image("a", f"t{number}-{count}", data)
        except (OSError, http.client.HTTPException):
            pass

    with temporary_root() as node:
        with serving(node=node) as running:
            clients = [running.client() for _ in range(4)]
            threads = [threading.Thread(target=push, args=(c, n)) for n, c in enumerate(clients)]
            for thread in threads:
                thread.start()
            _until(lambda: len(acknowledged) > 5)
            time.sleep(0.03 * round_)
            running.stop(signal.SIGKILL)
            for thread in threads:
                thread.join()
        store = Store(node)
        assert not [problem for problem in store.check().problems if "repository" in str(problem)]
        with serving(node=node) as running:
            client = running.client()
            for name, data in acknowledged:
                assert client.ask("GET", f"/v2/a/blobs/{name}").body == data
            for tag in client.ask("GET", "/v2/a/tags/list").json["tags"]:
                manifest = client.ask("GET", f"/v2/a/manifests/{tag}").json
                for layer in manifest["layers"]:
                    assert digest(client.ask("GET", f"/v2/a/blobs/{layer['digest']}").body) == layer["digest"]


def test_abandoned_uploads_are_collected_others_stay() -> None:
    with temporary_root() as node:
        store = Store(node)
        uploads = Uploads(store.layout, store.repositories)
        old, young, held = (uploads.start("a", "sha256") for _ in range(3))
        long_ago = time.time() - limits.UPLOAD_AGE - 60
        busy = uploads.hold("a", held)
        for path in Path(store.layout.uploads).iterdir():
            if young not in path.name:
                os.utime(path, (long_ago, long_ago))
        assert uploads.collect() == 1
        assert {path.name.partition(".")[0] for path in Path(store.layout.uploads).iterdir()} == {young, held}
        uploads.release(busy)
        assert old not in {young, held}


def test_an_upload_that_does_not_fit_on_the_disk_is_said_and_gone(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False).returncode:
        pytest.skip("needs root")
    try:
        with serving(node=_node(disk)) as running:
            client = running.client()
            client.push_blob("a", b"fits")
            for _ in range(2):
                where = running.client().begin("a")
                answer = running.client().ask("PATCH", where, os.urandom(20_000_000))
                assert answer.status == 507
                assert client.ask("GET", where).status == 404
            assert client.ask("GET", f"/v2/a/blobs/{digest(b'fits')}").body == b"fits"
            client.push_blob("a", os.urandom(1_000_000))
    finally:
        subprocess.run(["umount", disk], check=True)


def _node(folder: Path) -> Node:
    (folder / "orlop.toml").touch()
    return Node(str(folder / "r"), str(folder / "s"), str(folder / "orlop.toml"))


def _until(done: object, seconds: float = 30) -> None:
    assert callable(done)
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Collection


def _blob(store: Store, repository: str, data: bytes) -> Digest:
    name = Digest(digest(data))
    path = f"{store.layout.uploads}/{digest(data)[7:]}"
    Path(store.layout.uploads).mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(data)
    store.repositories.add_blob(repository, name, path, len(data))
    return name


def _manifest(
    data: bytes, *, blobs: tuple[str, ...] = (), entries: tuple[str, ...] = (), subject: str = ""
) -> HeldManifest:
    return HeldManifest(digest(data), MANIFEST, "", subject, len(data), data, blobs, entries)


def test_gc_takes_blobs_that_no_manifest_names_and_their_files() -> None:
    with serving() as running:
        client = running.client()
        data = client.push_image("a", "latest", b"kept")
        orphan = client.push_blob("a", b"orphan")
        shared = client.push_blob("a", b"shared")
        client.push_image("b", "latest", b"shared")
        assert orlop(running.node, "registry", "gc").returncode == 0  # within the time of grace: nothing
        assert client.ask("HEAD", f"/v2/a/blobs/{orphan}").status == 200
        done = orlop(running.node, "registry", "gc", "--grace", "0")
        assert done.returncode == 0, done.stderr
        for name in (orphan, shared):
            assert client.ask("HEAD", f"/v2/a/blobs/{name}").status == 404
        assert client.ask("HEAD", f"/v2/b/blobs/{shared}").status == 200
        assert client.ask("GET", "/v2/a/manifests/latest").body == data
        assert client.ask("GET", f"/v2/a/blobs/{digest(b'kept')}").body == b"kept"
        store = running.store()
        assert not Path(store.layout.blob(orphan)).exists()
        assert Path(store.layout.blob(shared)).exists()
        assert not store.check().problems


def test_gc_frees_what_a_deleted_manifest_named() -> None:
    with serving() as running:
        client = running.client()
        data = client.push_image("a", "latest", b"large")
        client.ask("DELETE", f"/v2/a/manifests/{digest(data)}")
        orlop(running.node, "registry", "gc", "--grace", "0")
        assert not Path(running.store().layout.blob(digest(b"large"))).exists()
        assert client.ask("GET", "/v2/a/tags/list").status == 404


def test_untagged_manifests_stay_unless_they_are_asked_to_go() -> None:
    with temporary_root() as node:
        store = Store(node)
        repositories = store.repositories
        layer = _blob(store, "a", b"layer")
        child = _manifest(b"child", blobs=(layer,))
        index = _manifest(b"index", entries=(child.digest,))
        signature = _manifest(b"signature", subject=child.digest)
        attestation = _manifest(b"attestation", subject=signature.digest)
        lost = _manifest(b"lost", blobs=(layer,))
        orphan = _manifest(b"orphan", subject=digest(b"never there"))
        for held in (child, index, signature, attestation, lost, orphan):
            repositories.put_manifest("a", held, ("t",) if held is index else ())
        repositories.unlink(grace=0)
        assert repositories.manifest("a", lost.digest) is not None
        assert repositories.unlink(untagged=True).manifests == 0  # all are younger than the time of grace
        assert repositories.unlink(grace=0, untagged=True).manifests == 2
        for held in (child, index, signature, attestation):
            assert repositories.manifest("a", held.digest) is not None
        for held in (lost, orphan):
            assert repositories.manifest("a", held.digest) is None
        assert repositories.blob("a", layer) == 5


def test_a_client_that_asks_for_a_blob_keeps_it_from_the_collection() -> None:
    """It found the blob there and does not send it; its manifest comes later."""
    with temporary_root() as node:
        store = Store(node)
        names = [_blob(store, "a", data) for data in (b"asked", b"forgotten")]
        with store._database.transaction() as rows:
            rows.execute(
                "UPDATE repository_blobs SET linked = ?", (time.time() - limits.REGISTRY_GRACE - 60,)
            )
        assert store.repositories.blob("a", names[0]) == 5
        assert store.repositories.unlink().blobs == 1
        assert store.repositories.blob("a", names[0]) == 5
        assert store.repositories.blob("a", names[1]) is None


def test_collections_beside_pushes_lose_nothing() -> None:
    with serving() as running:
        stop, failures = threading.Event(), list[BaseException]()

        def collect() -> None:
            try:
                while not stop.is_set():
                    store = running.store()
                    store.repositories.unlink(grace=20, untagged=True)
                    store.repositories.free(grace=20, timeout=30)
                    store.prune()
                    store.close()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=collect)
        thread.start()
        try:
            client = running.client()
            pushed = {}
            for number in range(40):
                data = os.urandom(1000)
                client.push_image("a", f"t{number}", data)
                pushed[f"t{number}"] = data
        finally:
            stop.set()
            thread.join()
        assert not failures
        for tag, data in pushed.items():
            assert client.ask("HEAD", f"/v2/a/manifests/{tag}").status == 200
            assert client.ask("GET", f"/v2/a/blobs/{digest(data)}").body == data


def test_blobs_of_repositories_survive_the_stores_own_prune() -> None:
    with serving() as running:
        client = running.client()
        client.push_image("a", "latest", b"layer")
        running.store().prune(all_images=True)
        assert client.ask("GET", f"/v2/a/blobs/{digest(b'layer')}").body == b"layer"


def test_list_shows_repositories_and_tags() -> None:
    with serving() as running:
        client = running.client()
        data = client.push_image("a/b", "one", b"layer")
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, data)]}
        client.put_manifest("a/b", "all", index)
        client.push_blob("c", b"alone")
        done = orlop(running.node, "--output", "json", "registry", "list")
        size = len(json.dumps(index)) + len(data) + len(b"{}") + len(b"layer")
        assert json.loads(done.stdout) == [
            {"name": "a/b", "tags": 2, "manifests": 2, "size": size},
            {"name": "c", "tags": 0, "manifests": 0, "size": 5},
        ]
        done = orlop(running.node, "--output", "json", "registry", "list", "a/b")
        assert json.loads(done.stdout) == [
            {"name": "all", "digest": digest(json.dumps(index).encode()), "media_type": INDEX, "size": size},
            {"name": "one", "digest": digest(data), "media_type": MANIFEST, "size": len(data) + 7},
        ]
        assert b"a/b" in orlop(running.node, "registry", "list").stdout
        assert b"one" in orlop(running.node, "registry", "list", "a/b").stdout
        assert orlop(running.node, "registry", "list", "absent").returncode == 3


def test_sparse_takes_manifests_that_name_what_is_absent() -> None:
    with serving("--sparse") as running:
        client = running.client()
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, b"absent")]}
        assert client.put_manifest("a", "t", document).status == 201
        client.push_blob("a", b"{}")
        assert client.put_manifest("a", "u", image(b"{}", [b"absent"])).status == 201
        assert LAYER in client.ask("GET", "/v2/a/manifests/u").body.decode()
