"""Blobs: kept as they came, refused where they are wrong, open while they go."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest, parse
from orlop.image.signature.model import Attached, document
from orlop.image.sink import Document, ImageRecord
from orlop.image.transport.source import BadBytes
from orlop.kit.errors import Corrupt, NotFound
from orlop.kit.node import Node
from orlop.kit.progress import QuietMeter
from orlop.store.store import Store, StoreSettings
from orlop.store.transport import StoreSource
from tests.store.layers import ensure, image_of
from tests.store.layers import put as layers_put
from tests.support.images import Image, tar
from tests.support.records import record_of

DATA = os.urandom(3_000_000)
DIGEST = Digest.of(DATA)


def put(store: Store, data: bytes = DATA) -> Digest:
    digest = Digest.of(data)
    store.put_blob(digest, len(data), io.BytesIO(data))
    return digest


def read(store: Store, digest: Digest) -> bytes:
    with store.open_blob(digest) as blob:
        assert os.pread(blob.fileno(), 10, blob.offset) == DATA[:10]
        found, buffer = bytearray(), bytearray(100_000)
        while count := blob.readinto(buffer):
            found += buffer[:count]
        return bytes(found)


def leftovers(store: Store) -> list[str]:
    return os.listdir(store.layout.tmp)


def test_what_was_put_is_read(store: Store) -> None:
    assert store.blob_size(DIGEST) is None
    put(store)
    assert store.blob_size(DIGEST) == len(DATA)
    assert read(store, DIGEST) == DATA
    assert leftovers(store) == []


def test_what_is_there_is_not_read_again(store: Store) -> None:
    put(store)
    store.put_blob(DIGEST, len(DATA), io.BytesIO(b"never looked at"))
    assert read(store, DIGEST) == DATA


@pytest.mark.parametrize("wrong", [DATA[:-1], DATA + b"x", DATA[1:] + DATA[:1]])
def test_wrong_bytes_are_refused_and_leave_nothing(store: Store, wrong: bytes) -> None:
    with pytest.raises(Corrupt):
        store.put_blob(DIGEST, len(DATA), io.BytesIO(wrong))
    assert store.blob_size(DIGEST) is None
    assert leftovers(store) == []
    assert not os.path.exists(store.layout.blob(DIGEST))


def test_a_giver_that_gives_up_leaves_nothing(store: Store) -> None:
    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.put_blob(DIGEST, len(DATA), io.BytesIO(DATA), tick=tick)
    assert leftovers(store) == []


def test_a_finished_file_is_adopted(store: Store) -> None:
    path = Path(store.layout.root) / "finished"
    path.write_bytes(DATA)
    store.adopt_blob(DIGEST, str(path))
    assert not path.exists()
    assert read(store, DIGEST) == DATA


def test_an_unknown_blob_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound), store.open_blob(DIGEST):
        pass


def test_a_lost_file_is_written_again(store: Store) -> None:
    put(store)
    os.unlink(store.layout.blob(DIGEST))
    with pytest.raises(NotFound), store.open_blob(DIGEST):
        pass
    put(store)
    assert read(store, DIGEST) == DATA


def test_an_open_blob_outlives_its_removal(store: Store) -> None:
    put(store)
    with store.open_blob(DIGEST) as blob:
        store.prune()
        assert store.blob_size(DIGEST) is None
        blob.seek(len(DATA) - 5)
        buffer = bytearray(10)
        assert blob.readinto(buffer) == 5
        assert buffer[:5] == DATA[-5:]


# -- with images ---------------------------------------------------------------------------------------


NAME = "docker.io/library/ship:1"


def blobs_of(store: Store) -> set[str]:
    """What `prune` cannot take."""
    return {row.id for row in store.df().rows if row.kind == "blob"}


def files_of(store: Store) -> list[str]:
    folder = f"{store.layout.blobs}/sha256"
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


@pytest.mark.host
@pytest.mark.parametrize("kept_as", ["files", "erofs"])
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_a_layer_that_comes_is_kept_as_it_came_and_goes_with_its_image(
    store: Store, compression: str
) -> None:
    image = image_of(tar({"a": b"1" * 9000}), tar({"b": b"2"}), compression=compression)
    layers_put(store, image, NAME)
    for layer in image.layers:
        with store.open_blob(Digest(layer.digest)) as blob:
            assert os.pread(blob.fileno(), blob.size, blob.offset) == layer.blob
    assert blobs_of(store) == {layer.digest for layer in image.layers}
    if not compression and store.settings.layers == "erofs":
        assert files_of(store) == []  # the tar within the layer is the blob
    assert store.prune().blobs == ()
    store.remove_image(NAME)
    assert (blobs_of(store), files_of(store)) == (set(), [])
    assert store.check().leftovers == 0


@pytest.mark.host
def test_a_blob_that_two_images_share_stays_for_the_other(store: Store) -> None:
    shared, other = tar({"a": b"1"}), tar({"b": b"2"})
    one, two = image_of(shared, compression="gzip"), image_of(shared, other, compression="gzip")
    layers_put(store, one, NAME)
    layers_put(store, two, "docker.io/library/boat:1")
    store.remove_image("boat:1")
    assert blobs_of(store) == {one.layers[0].digest}
    assert store.df().total == sum(row.size for row in store.df().rows if row.kind in ("layer", "blob"))


@pytest.mark.host
def test_another_compression_of_the_same_layers_brings_its_blobs_alone(store: Store) -> None:
    tars = (tar({"a": b"1" * 9000}), tar({"b": b"2"}))
    gzip, zstd = (image_of(*tars, compression=kind) for kind in ("gzip", "zstd"))
    layers_put(store, gzip, NAME)
    assert store.wanted([Digest(layer.digest) for layer in zstd.layers])
    layers_put(store, zstd, NAME)
    assert gzip.id == zstd.id
    assert sorted(os.listdir(store.layout.layers)) == ["1", "2"]
    store.prune()
    assert blobs_of(store) == {layer.digest for layer in zstd.layers}


@pytest.mark.host
def test_an_image_whose_blobs_were_never_kept_works_and_gets_them_by_a_pull(node: Node) -> None:
    image = image_of(tar({"a": b"1"}), compression="gzip")
    old = Store(node, StoreSettings(keep_blobs=False))
    layers_put(old, image, NAME)
    assert blobs_of(old) == set()
    assert not old.wanted([Digest(image.layers[0].digest)])
    old.close()
    new = Store(node)
    assert new.has_image(Digest(image.id))
    assert new.named(NAME) == (image.id, image.digest)
    assert new.check().problems == ()
    with pytest.raises(NotFound, match="is not in the store") as caught:
        read_through(new, image)
    assert "keep_blobs" in caught.value.hint
    assert new.wanted([Digest(image.layers[0].digest)])
    opened: list[bytes] = []
    with new.lease():
        assert ensure(new, image, opened) == [True]
    assert len(opened) == 1
    assert read_through(new, image) == [image.layers[0].blob]
    new.close()


@pytest.mark.host
def test_what_a_repository_names_stays_when_its_image_goes(store: Store) -> None:
    image = image_of(tar({"a": b"1"}))
    layers_put(store, image, NAME)
    digest = image.layers[0].digest
    with sqlite3.connect(store.layout.database) as rows:
        rows.execute(
            "INSERT INTO repository_blobs (repository, digest, linked) VALUES ('app', ?, 0)", (digest,)
        )
    rows.close()
    store.remove_image(NAME)
    store.prune(all_images=True)
    assert blobs_of(store) == {digest}
    with store.open_blob(Digest(digest)) as blob:
        assert os.pread(blob.fileno(), blob.size, blob.offset) == image.layers[0].blob
    layers_put(store, image, NAME)
    assert store.check().problems == ()
    store.prune(all_images=True)
    with sqlite3.connect(store.layout.database) as rows:
        rows.execute("DELETE FROM repository_blobs")
    rows.close()
    store.prune()
    assert (blobs_of(store), os.listdir(store.layout.layers)) == (set(), [])


@pytest.mark.host
def test_documents_are_replaced_wholly(store: Store) -> None:
    image = image_of(tar({"a": b"1"}))
    documents = tuple(Document("index", "x/y", Digest.of(data), data) for data in (b"{}", b"[]"))
    layers_put(store, image, NAME)
    record = record_of(image, NAME)
    store.put_image(with_documents(record, documents))
    assert store.documents(image.id) == documents
    assert any(row.kind == "documents" and row.size == 4 for row in store.df().rows)
    store.put_image(with_documents(record, documents[1:]))
    assert store.documents(image.id) == documents[1:]
    store.remove_image(NAME)
    with pytest.raises(NotFound):
        store.documents(image.id)


def with_documents(record: ImageRecord, documents: tuple[Document, ...]) -> ImageRecord:
    return ImageRecord(
        record.id,
        record.digest,
        record.manifest,
        record.config,
        record.layers,
        record.names,
        record.digests,
        documents,
    )


def read_through(store: Store, image: Image) -> list[bytes]:
    """Every layer, as a push reads it."""
    source = StoreSource(store, NAME)
    try:
        manifest = parse(source.manifest().data)
        assert isinstance(manifest, Manifest)
        assert source.manifest().digest == image.digest
        return [whole(source, blob) for blob in manifest.layers]
    finally:
        source.close()


def whole(source: StoreSource, blob: Descriptor) -> bytes:
    found, buffer = bytearray(), bytearray(1000)
    with source.open_blob(blob, QuietMeter()) as reader:
        while count := reader.readinto(buffer):
            found += buffer[:count]
    return bytes(found)


@pytest.mark.host
def test_a_damaged_blob_is_never_handed_out_whole(store: Store) -> None:
    image = image_of(tar({"a": os.urandom(5000)}), compression="gzip")
    layers_put(store, image, NAME)
    path = Path(store.layout.blob(image.layers[0].digest))
    data = bytearray(path.read_bytes())
    path.write_bytes(data + b"x")
    assert [problem.object for problem in store.check().problems] == [f"blob {image.layers[0].digest}"]
    for damaged in (data[:-1], data[:100] + bytes([data[100] ^ 1]) + data[101:]):
        path.write_bytes(damaged)
        with pytest.raises(BadBytes):
            read_through(store, image)
    (problem,) = store.check().problems
    assert problem.object == f"blob {image.layers[0].digest}"
    assert NAME in problem.cause
    assert store.blob_size(Digest(image.layers[0].digest)) is None  # so that a push brings it
    with store.lease():
        assert ensure(store, image) == [True]  # and a pull
    assert read_through(store, image) == [image.layers[0].blob]
    assert store.check().problems == ()
    path.write_bytes(damaged)
    store.check(repair=True)
    assert store.check().problems == ()
    assert store.has_image(Digest(image.id))  # the layer is whole: containers go on
    with store.lease():
        assert ensure(store, image) == [True]
    assert read_through(store, image) == [image.layers[0].blob]


@pytest.mark.host
def test_a_source_keeps_its_image_from_being_pruned(store: Store) -> None:
    image = image_of(tar({"a": b"1"}), compression="gzip")
    layers_put(store, image, NAME)
    source = StoreSource(store, NAME)
    store.remove_image(NAME)
    manifest = parse(source.manifest().data)
    assert isinstance(manifest, Manifest)
    assert whole(source, manifest.layers[0]) == image.layers[0].blob
    source.close()
    store.prune()
    assert blobs_of(store) == set()


@pytest.mark.host
def test_leftovers_of_blobs_and_old_uploads_are_removed(store: Store) -> None:
    put(store)
    os.makedirs(f"{store.layout.blobs}/sha512")
    stray = Path(f"{store.layout.blobs}/sha512/{'a' * 128}")
    stray.write_bytes(b"from a crash between rename and commit")
    os.makedirs(store.layout.uploads)
    for name, age in (("old", 25 * 3600), ("young", 60)):
        path = Path(store.layout.uploads) / name
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    time.sleep(0.03)  # nobody who works now can have put it there
    assert store.check().leftovers == 2
    collected = store.collect()
    assert (collected.leftovers, collected.again) == (2, True)
    assert not stray.exists()
    assert os.listdir(store.layout.uploads) == ["young"]
    assert store.blob_size(DIGEST) == len(DATA)  # too young for a daemon, not for who asks
    assert store.prune().blobs == (DIGEST,)


@pytest.mark.host
def test_steps_of_builds_stay_until_they_are_of_no_use(store: Store) -> None:
    for number, used in ((1, time.time()), (2, time.time() - 15 * 24 * 3600)):
        image = image_of(tar({"a": b"%d" % number}))
        layers_put(store, image, NAME)
        store.untag(NAME)
        with sqlite3.connect(store.layout.database) as rows:
            rows.execute("INSERT INTO build_cache VALUES (?, ?, ?)", (f"key{number}", image.id, used))
        rows.close()
    assert len(store.images()) == 2
    (gone,) = store.prune().images
    assert gone != store.images()[0].id
    assert len(store.prune(all_images=True).images) == 1


@pytest.mark.host
def test_cosigns_signatures_are_given_out_as_they_came(store: Store) -> None:
    image = image_of(tar({"a": b"1"}))
    payload = json.dumps({"critical": {"image": {"docker-manifest-digest": image.digest}}}).encode()
    other = json.dumps({"critical": {"image": {"docker-manifest-digest": image.id}}}).encode()
    annotations = {"dev.cosignproject.cosign/signature": "c2lnbmVk"}
    kept = tuple(document(Attached(data, annotations)) for data in (payload, other))
    layers_put(store, image, NAME)
    store.put_image(with_documents(record_of(image, NAME), kept))
    source = StoreSource(store, NAME)
    raw = source.tagged(image.digest.replace(":", "-") + ".sig")
    assert raw is not None
    assert source.manifest(raw.digest) == raw
    manifest = parse(raw.data)
    assert isinstance(manifest, Manifest)
    (layer,) = manifest.layers
    assert (layer.annotations, whole(source, layer)) == (annotations, payload)
    assert b"rootfs" in whole(source, manifest.config)
    assert source.tagged("sha256-" + "0" * 64 + ".sig") is None
    assert source.tagged("latest") is None
    source.close()


@pytest.mark.host
def test_check_names_repositories_and_a_repair_lets_a_push_bring_the_blob_again(store: Store) -> None:
    put(store)
    for repository in ("team/app", "team/base"):
        link(store, repository, DIGEST)
    assert store.check().problems == ()
    assert store.prune().blobs == ()
    Path(store.layout.blob(DIGEST)).write_bytes(DATA[:-1] + b"?")
    (problem,) = store.check().problems
    assert problem.object == f"blob {DIGEST}"
    assert "of repository team/app, team/base" in problem.cause
    assert [found.repaired for found in store.check(repair=True).problems] == [True]
    assert store.check().problems == ()
    assert store.blob_size(DIGEST) is None
    put(store)
    assert read(store, DIGEST) == DATA


def test_check_names_a_repository_that_lacks_a_blob(store: Store) -> None:
    link(store, "team/app", DIGEST)
    (problem,) = store.check().problems
    assert (problem.object, DIGEST in problem.cause) == ("repository team/app", True)
    store.check(repair=True)
    assert store.check().problems == ()


def link(store: Store, repository: str, digest: str) -> None:
    with sqlite3.connect(store.layout.database) as rows:
        rows.execute(
            "INSERT INTO repository_blobs (repository, digest, linked) VALUES (?, ?, 0)", (repository, digest)
        )
    rows.close()
