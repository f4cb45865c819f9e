"""One image that came by several manifests: each name gives out its own, and what nobody names goes."""

from __future__ import annotations

import dataclasses

import pytest

from orlop.image.digest import Digest
from orlop.image.manifest import Manifest, parse
from orlop.image.sink import ImageRecord
from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node
from orlop.kit.progress import QuietMeter
from orlop.store.store import Store
from orlop.store.transport import StoreSource
from tests.store.layers import ensure, image_of, put
from tests.support.images import Image, tar
from tests.support.records import record_of

pytestmark = pytest.mark.host

TAR = tar({"a": b"1" * 5000})
GZIP, ZSTD = image_of(TAR, compression="gzip"), image_of(TAR, compression="zstd")
ONE, OTHER = "docker.io/library/ship:gzip", "docker.io/library/ship:zstd"


def pushed(store: Store, name: str) -> tuple[Digest, bytes]:
    """What a push would send: the manifest's digest and the only layer."""
    source = StoreSource(store, name)
    try:
        raw = source.manifest()
        manifest = parse(raw.data)
        assert isinstance(manifest, Manifest)
        found, buffer = bytearray(), bytearray(1000)
        with source.open_blob(manifest.layers[0], QuietMeter()) as reader:
            while count := reader.readinto(buffer):
                found += buffer[:count]
        return raw.digest, bytes(found)
    finally:
        source.close()


def wanted(image: Image) -> tuple[str, bytes]:
    return image.digest, image.layers[0].blob


def blobs(store: Store, image: Image) -> bool:
    store.prune()
    return store.blob_size(Digest(image.layers[0].digest)) is not None


def test_each_name_gives_out_the_manifest_that_it_came_with(store: Store) -> None:
    assert put(store, GZIP, ONE) == put(store, ZSTD, OTHER)
    assert pushed(store, "ship:gzip") == wanted(GZIP)
    assert pushed(store, "ship:zstd") == wanted(ZSTD)
    assert pushed(store, f"ship@{GZIP.digest}") == wanted(GZIP)
    assert pushed(store, ZSTD.id) == wanted(ZSTD)  # an ID alone: what came last
    assert store.named(ONE) == (GZIP.id, GZIP.digest)
    assert store.named(OTHER) == (GZIP.id, ZSTD.digest)
    assert store.manifest_of(ONE) == (GZIP.id, GZIP.digest, GZIP.manifest)
    store.tag("ship:gzip", "boat")
    store.untag("ship:gzip")
    assert pushed(store, "boat") == wanted(GZIP)
    assert blobs(store, GZIP)
    assert blobs(store, ZSTD)
    assert store.check().problems == ()


def test_a_manifest_goes_with_the_last_name_that_leads_to_it(store: Store) -> None:
    put(store, GZIP, ONE)
    put(store, ZSTD, OTHER)
    store.remove_image("ship:gzip")
    assert not blobs(store, GZIP)
    assert pushed(store, "ship:zstd") == wanted(ZSTD)
    put(store, GZIP, OTHER)  # the name moves to the other manifest of the same image
    assert not blobs(store, ZSTD)
    assert pushed(store, "ship:zstd") == wanted(GZIP)
    put(store, ZSTD, ONE)
    put(store, image_of(tar({"b": b"2"}), compression="gzip"), OTHER)  # ... and to another image
    assert not blobs(store, GZIP)
    assert pushed(store, "ship:gzip") == wanted(ZSTD)


def test_names_of_a_store_that_did_not_note_digests_keep_theirs(store: Store) -> None:
    put(store, GZIP, ONE)
    with store._database.transaction() as rows:
        rows.execute("UPDATE names SET digest = ''")
    assert pushed(store, "ship:gzip") == wanted(GZIP)
    put(store, ZSTD, OTHER)
    assert pushed(store, "ship:gzip") == wanted(GZIP)


def test_a_damaged_manifest_is_found(store: Store) -> None:
    put(store, GZIP, ONE)
    put(store, ZSTD, OTHER)
    with store._database.transaction() as rows:
        rows.execute("UPDATE image_manifests SET data = ?", (GZIP.manifest + b" ",))
    (problem,) = store.check().problems
    assert problem.object == f"image {GZIP.id}"


@pytest.mark.parametrize("last", ["s390x", "amd64"])
def test_the_digest_of_an_index_leads_to_this_machines_image(store: Store, node: Node, last: str) -> None:
    index = Digest("sha256:" + "7" * 64)
    for architecture in ("amd64" if last != "amd64" else "s390x", last):
        image = dataclasses.replace(GZIP, architecture=architecture)
        with store.lease():
            ensure(store, image)
            store.put_image(led_by(record_of(image, ONE), index))
    assert store.image(f"ship@{index}").id == GZIP.id
    for architecture in ("arm64", "riscv64"):
        image = dataclasses.replace(ZSTD, architecture=architecture)
        with store.lease():
            ensure(store, image)
            store.put_image(led_by(record_of(image, ONE), Digest("sha256:" + "6" * 64)))
    with pytest.raises(InvalidInput, match="leads to 2 images"):
        store.image("ship@sha256:" + "6" * 64)


def led_by(record: ImageRecord, index: Digest) -> ImageRecord:
    fields = (record.id, record.digest, record.manifest, record.config, record.layers, record.names)
    return ImageRecord(*fields, (record.digest, index))
