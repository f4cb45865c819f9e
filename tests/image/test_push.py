"""Uploads: whole, in parts, broken and resumed; manifests with subjects; lists of tags; deletion."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.manifest import OCI_MANIFEST, Descriptor
from orlop.image.reference import Reference
from orlop.image.sink import Reader
from orlop.image.transport.destination import TryAgain
from orlop.image.transport.push import DockerDestination
from orlop.image.transport.push_upload import Pieces
from orlop.image.transport.registry import Endpoint
from orlop.image.transport.repository import Repository
from orlop.image.transport.source import RawManifest
from orlop.kit import limits
from orlop.kit.errors import Corrupt, LimitExceeded, NotFound, Unavailable, Unsupported
from orlop.kit.progress import QuietMeter
from orlop.kit.tasks import Cancellation
from tests.image.copying import FAST, copied, digest_of, raw
from tests.image.faulty import faulty
from tests.image.pushable import Pushable, broken, pushable, status
from tests.support.images import Image, Layer, Pusher, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
BIG = random.Random(5).randbytes(20 * limits.MIB)
SMALL = b"small" * 1000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


class Bytes:
    """A Reader; `fail` is raised instead of the end."""

    def __init__(self, data: bytes, fail: Exception | None = None) -> None:
        self.rest = memoryview(data)
        self.fail = fail

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        if not self.rest and self.fail:
            raise self.fail
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


def destination(server: Pushable, tag: str = "1") -> DockerDestination:
    endpoint = Endpoint(Reference.parse(server.reference(tag)), insecure=True)
    return DockerDestination(endpoint, FAST, Cancellation(), lambda _: None)


def blob_of(data: bytes) -> Descriptor:
    return Descriptor("application/octet-stream", Digest.of(data), len(data))


def put(target: DockerDestination, data: bytes, reader: Reader | None = None) -> None:
    target.put_blob(blob_of(data), reader or Bytes(data), QuietMeter())


@pytest.mark.parametrize("data", [b"", SMALL, BIG])
def test_a_blob_is_one_post_and_one_put_to_where_the_location_says(data: bytes) -> None:
    with pushable() as server:
        put(destination(server), data)
        assert server.blobs == {digest_of(data): data}
        (where,) = server.asked("PUT")
        assert "_state=a%2Fb+c&digest=sha256" in where
        assert len(server.asked("POST")) == 1


def test_a_blob_of_unknown_digest_is_streamed() -> None:
    with pushable() as server:
        destination(server).put_stream(Bytes(BIG), QuietMeter(), lambda: (Digest.of(BIG), len(BIG)))
        assert server.blobs == {digest_of(BIG): BIG}
        assert len(server.asked("PATCH")) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_registry_that_takes_no_long_bodies_gets_parts(stream: bool) -> None:
    with pushable(in_parts=True) as server:
        target = destination(server)

        def send() -> None:
            if stream:
                target.put_stream(Bytes(BIG), QuietMeter(), lambda: (Digest.of(BIG), len(BIG)))
            else:
                put(target, BIG)

        if stream:
            server.faults["PATCH upload"] = [status(413)]
        with pytest.raises(TryAgain):
            send()
        send()
        assert server.blobs == {digest_of(BIG): BIG}
        spans = [headers.get("Content-Range") for method, _, headers in server.requests if method == "PATCH"]
        assert [span for span in spans if span] == ["0-8388607", "8388608-16777215", "16777216-20971519"]


def test_a_part_is_resumed_where_the_registry_has_got_to() -> None:
    with pushable(in_parts=True) as server:
        target = destination(server)
        with pytest.raises(TryAgain):
            put(target, BIG)
        server.faults["PATCH upload"] = [
            broken(1_000_000, keep=True),
            status(503),
            broken(2_000_000),
        ]
        put(target, BIG)
        assert server.blobs == {digest_of(BIG): BIG}
        assert any(headers.get("Content-Range") == "1000000-8388607" for _, _, headers in server.requests)


def test_a_registrys_least_part_is_kept_to() -> None:
    with pushable(in_parts=True, least=10 * limits.MIB) as server:
        target = destination(server)
        with pytest.raises(TryAgain):
            put(target, BIG)
        put(target, BIG)
        assert len(server.asked("PATCH")) == 2
        server.least = limits.UPLOAD_CHUNK_MAX + 1
        with pytest.raises(LimitExceeded):
            put(target, BIG)


def test_a_small_blob_is_sent_again_by_itself() -> None:
    with pushable() as server:
        server.faults["PUT blob"] = [broken(100), status(503), status(404)]
        put(destination(server), SMALL)
        assert server.blobs == {digest_of(SMALL): SMALL}
        assert len(server.asked("POST")) == 4


def test_a_large_blob_asks_for_a_fresh_reader_and_the_engine_brings_one() -> None:
    image = Image((Layer(tar({"f": BIG[:5_000_000]})),))
    with pushable() as server, faulty(image) as source:
        server.faults["PUT blob"] = [broken(300_000), status(502), broken(2_000_000)]
        done = copied(f"docker://{source.reference()}", f"docker://{server.reference()}")
        assert done.digest == image.digest
        assert server.blobs[image.layers[0].digest] == image.layers[0].blob
        server.blobs.clear()
        server.faults["PATCH upload"] = [broken(300_000)]
        copied(f"docker://{source.reference()}", f"docker://{server.reference('z')}", compression="zstd")
        server.blobs.clear()
        server.manifests.clear()
        server.faults["PUT blob"] = [status(500)] * 50
        with pytest.raises(Unavailable):
            copied(f"docker://{source.reference()}", f"docker://{server.reference()}")
        assert server.manifests == {}


@pytest.mark.parametrize("refusal", [401, 403, 404, 405, 400])
def test_a_mount_that_is_refused_only_means_that_the_blob_is_sent(refusal: int) -> None:
    with pushable() as server:
        endpoint = Endpoint(Reference.parse(server.reference()), insecure=True)
        origin = Reference.parse(f"{server.address}/other/cargo:1")
        target = DockerDestination(endpoint, FAST, Cancellation(), lambda _: None, origin=origin)
        for answers in ([status(refusal)], []):  # refused, or answered with an upload
            server.blobs.clear()
            server.faults["POST upload"] = list(answers)
            assert not target.has_blob(blob_of(SMALL))
            put(target, SMALL)
            assert server.blobs == {digest_of(SMALL): SMALL}
        assert len(server.asked("POST", "mount=sha256")) == 2
        assert len(server.asked("POST")) == 3  # the second mount's upload was used


def test_a_registry_with_tls_and_client_certificates_is_pushed_to(tmp_path: Path) -> None:
    image = Image((Layer(tar({"f": b"x"})),))
    with registry(client_certificates=True) as guarded:
        guarded.certs_d(tmp_path / ".config/containers/certs.d")
        endpoint = Endpoint(Reference.parse(guarded.reference("ship/cargo:1")))
        target = DockerDestination(endpoint, FAST, Cancellation(), lambda _: None)
        for data in image.blobs:
            put(target, data)
        made = RawManifest(image.manifest, OCI_MANIFEST, Digest(image.digest))
        target.put_manifest(made)
        target.commit(made.digest)
        place = Repository(endpoint, FAST, Cancellation(), lambda _: None)
        assert list(place.tags()) == ["1"]


def test_nothing_is_finished_before_the_reader_has_verified_it() -> None:
    with pushable() as server:
        for data in (SMALL, BIG):
            with pytest.raises(Corrupt, match="wrong"):
                put(destination(server), data, Bytes(data, Corrupt("blob", "wrong", hint="")))
            with pytest.raises(Corrupt, match="announced"):
                put(destination(server), data, Bytes(data[:-1]))
            with pytest.raises(Corrupt, match="announced"):
                put(destination(server), data, Bytes(data + b"x"))
        assert server.blobs == {}


def test_bytes_that_change_on_their_way_are_told() -> None:
    with pushable() as server, pytest.raises(Corrupt, match="DIGEST_INVALID"):
        target = destination(server)
        target.put_blob(blob_of(SMALL), Bytes(b"other" * 1000), QuietMeter())


def test_pieces_are_the_bytes_whatever_their_number() -> None:
    for size in (0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 1_000_000):
        assert b"".join(map(bytes, Pieces(Bytes(BIG[:size]), size, "x"))) == BIG[:size]


# Manifests


def manifest(subject: str = "", kind: str = "application/x.sbom") -> RawManifest:
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
        "layers": [],
    }
    if subject:
        document["subject"] = {"mediaType": OCI_MANIFEST, "digest": subject, "size": 7}
    data = json.dumps(document).encode()
    return RawManifest(data, OCI_MANIFEST, Digest.of(data))


def test_the_tag_appears_only_at_the_commit() -> None:
    with pushable() as server:
        target = destination(server)
        raw_manifest = manifest()
        target.put_manifest(raw_manifest)
        assert set(server.manifests) == {raw_manifest.digest}
        target.commit(raw_manifest.digest)
        assert set(server.manifests) == {raw_manifest.digest, "1"}
        with pytest.raises(NotFound):
            target.commit(Digest.of(b"another"))


def test_a_registry_with_a_referrers_api_gets_no_fallback_tag() -> None:
    subject = digest_of(b"subject")
    with pushable(subjects=True) as server:
        destination(server).put_manifest(manifest(subject))
        assert not [name for name in server.manifests if name.startswith("sha256-")]


def test_one_without_gets_one_and_it_loses_nobody() -> None:
    """Eight writers at once, each with a client of its own."""
    subject = digest_of(b"subject")
    with registry() as running:
        Pusher(running).put_blob("ship/cargo", b"{}")
        everyone = [manifest(subject, f"application/x.{number}") for number in range(8)]

        def one(raw_manifest: RawManifest) -> None:
            endpoint = Endpoint(Reference.parse(running.reference("ship/cargo:1")), insecure=True)
            DockerDestination(endpoint, FAST, Cancellation(), lambda _: None).put_manifest(raw_manifest)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, everyone))
        index = json.loads(raw(f"docker://{running.address}/ship/cargo:{subject.replace(':', '-')}"))
        found = {entry["digest"]: entry["artifactType"] for entry in index["manifests"]}
        assert found == {str(each.digest): f"application/x.{n}" for n, each in enumerate(everyone)}
        repository(running, str(everyone[3].digest), deletes=True).delete()
        index = json.loads(raw(f"docker://{running.address}/ship/cargo:{subject.replace(':', '-')}"))
        assert str(everyone[3].digest) not in {entry["digest"] for entry in index["manifests"]}
        assert len(index["manifests"]) == 7


# Tags and deletion


def repository(running: Registry | Pushable, name: str, *, deletes: bool = False) -> Repository:
    separator = "@" if name.startswith("sha256:") else ":"
    endpoint = Endpoint(Reference.parse(f"{running.address}/ship/cargo{separator}{name}"), insecure=True)
    make = Repository.to_delete_from if deletes else Repository
    return make(endpoint, FAST, Cancellation(), lambda _: None)


def test_tags_are_listed_through_all_pages() -> None:
    with pushable(tags=["a", "b", "c", "d", "e"]) as server:
        assert list(repository(server, "1").tags()) == ["a", "b", "c", "d", "e"]
        assert len(server.asked("GET", "tags/list")) == 3


def test_deleting_takes_the_manifest_and_every_tag_of_it() -> None:
    image = Image((Layer(tar({"f": b"x"})),))
    with registry() as running:
        push(running, "ship/cargo:1", image)
        push(running, "ship/cargo:2", image)
        assert sorted(repository(running, "1").tags()) == ["1", "2"]
        assert repository(running, "1", deletes=True).delete() == image.digest
        for name in ("1", "2", image.digest):
            with pytest.raises(NotFound):
                repository(running, name, deletes=True).delete()
    with pushable(manifests={"1": (manifest().data, OCI_MANIFEST)}) as server:
        server.faults["DELETE manifest"] = [status(405)]
        with pytest.raises(Unsupported, match="deletes no manifests"):
            repository(server, "1", deletes=True).delete()
        repository(server, "1", deletes=True).delete(tag_only=True)
        assert server.manifests == {}
