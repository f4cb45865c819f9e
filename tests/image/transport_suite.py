"""What every transport that is read and written must do; one class per transport fills in the places.

class TestMine(TransportSuite):
    @pytest.fixture
    def place(self, tmp_path): return Place(lambda: MySource(...), lambda: MyDestination(...))
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orlop.image import manifest as manifests
from orlop.image.digest import Digest
from orlop.image.manifest import Descriptor, Manifest
from orlop.image.sink import Reader
from orlop.image.transport.destination import Destination
from orlop.image.transport.source import RawManifest, Source
from orlop.kit.errors import Cancelled, Corrupt, NotFound, OrlopError
from orlop.kit.progress import QuietMeter
from tests.support import images
from tests.support.images import Image, Index, Layer, tar

METER = QuietMeter()


@dataclass(frozen=True)
class Place:
    """One name at one transport. `keeps_platforms` as its abilities say; `files` what it left on disk."""

    source: Callable[[], Source]
    destination: Callable[[], Destination]
    files: Callable[[], list[str]] = field(default=list)


class Bytes:
    """A Reader that counts nothing and checks nothing; `pause` is waited for after the first piece."""

    def __init__(self, data: bytes, pause: threading.Event | None = None, fails: bool = False) -> None:
        self._left = memoryview(data)
        self._pause = pause
        self._fails = fails
        self._begun = False

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        if self._begun and self._pause:
            self._pause.wait(20)
        if self._begun and self._fails:
            raise Cancelled("the other side", "went away", hint="again")
        self._begun = True
        piece = self._left[: min(len(buffer), 100_000)]
        memoryview(buffer)[: len(piece)] = piece
        self._left = self._left[len(piece) :]
        return len(piece)


def image_for(place: Place, content: bytes = b"hello", **changes: Any) -> Image:
    """Two layers, packed and typed as the destination takes them."""
    with opened(place) as destination:
        abilities = destination.abilities
    compression = abilities.compressions[0]
    docker = bool(abilities.media_types) and manifests.OCI_MANIFEST not in abilities.media_types
    layers = tuple(Layer(tar({name: content * 1000}), compression) for name in ("etc/one", "etc/two"))
    return Image(layers, {"Cmd": ["sh"]}, schema=images.DOCKER if docker else images.OCI, **changes)


@contextlib.contextmanager
def opened(place: Place) -> Iterator[Destination]:
    destination = place.destination()
    try:
        yield destination
    finally:
        destination.close()


@contextlib.contextmanager
def reading(place: Place) -> Iterator[Source]:
    source = place.source()
    try:
        yield source
    finally:
        source.close()


def descriptor_of(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    return Descriptor(media_type, Digest(images.digest(data)), len(data))


def raw_of(image: Image | Index) -> RawManifest:
    return RawManifest(image.manifest, image.media_type, Digest(image.digest))


def put_blobs(destination: Destination, image: Image) -> None:
    for data in image.blobs:
        blob = descriptor_of(data)
        if not destination.has_blob(blob):
            destination.put_blob(blob, Bytes(data), METER)


def write(place: Place, image: Image | Index) -> None:
    with opened(place) as destination:
        for member in image.members if isinstance(image, Index) else (image,):
            assert isinstance(member, Image)
            put_blobs(destination, member)
            destination.put_manifest(raw_of(member))
        if isinstance(image, Index):
            destination.put_manifest(raw_of(image))
        destination.commit(Digest(image.digest))


def read_blob(source: Source, blob: Descriptor) -> bytes:
    with source.open_blob(blob, METER) as reader:
        return drained(reader)


def drained(reader: Reader) -> bytes:
    data = bytearray()
    buffer = bytearray(70_000)
    while count := reader.readinto(buffer):
        data += buffer[:count]
    assert reader.readinto(buffer) == 0
    return bytes(data)


def assert_holds(place: Place, image: Image) -> None:
    with reading(place) as source:
        raw = source.manifest()
        assert (raw.digest, raw.data) == (image.digest, image.manifest)
        assert source.current_digest() in (None, raw.digest)
        assert source.manifest(raw.digest).data == raw.data
        found = manifests.parse(raw.data, raw.media_type)
        assert isinstance(found, Manifest)
        blobs = [read_blob(source, blob) for blob in (found.config, *found.layers)]
        assert tuple(blobs) == image.blobs


class TransportSuite:
    """The contracts of transport.Source and transport.Destination, together."""

    def test_what_was_written_is_read_with_the_same_digests(self, place: Place) -> None:
        image = image_for(place)
        write(place, image)
        assert_holds(place, image)

    def test_everything_asked_twice_is_harmless(self, place: Place) -> None:
        image = image_for(place)
        with opened(place) as destination:
            for _ in range(2):
                for data in image.blobs:
                    destination.put_blob(descriptor_of(data), Bytes(data), METER)
                    assert destination.has_blob(descriptor_of(data))
                destination.put_manifest(raw_of(image))
            destination.commit(Digest(image.digest))
            destination.commit(Digest(image.digest))
            destination.close()
        write(place, image)
        assert_holds(place, image)

    def test_a_second_image_takes_the_place_of_the_first(self, place: Place) -> None:
        write(place, image_for(place, b"first"))
        second = image_for(place, b"second")
        write(place, second)
        assert_holds(place, second)

    def test_nothing_is_seen_before_the_commit(self, place: Place) -> None:
        image = image_for(place)
        with opened(place) as destination:
            put_blobs(destination, image)
            destination.put_manifest(raw_of(image))
            with pytest.raises(OrlopError), reading(place) as source:
                source.manifest()

    def test_what_was_not_committed_leaves_the_earlier_image(self, place: Place) -> None:
        first, second = image_for(place, b"first"), image_for(place, b"second")
        write(place, first)
        before = place.files()
        with opened(place) as destination:
            put_blobs(destination, second)
            destination.put_manifest(raw_of(second))
            assert_holds(place, first)
        assert place.files() == before
        assert_holds(place, first)

    def test_a_write_that_breaks_leaves_the_earlier_image(self, place: Place) -> None:
        first, second = image_for(place, b"first"), image_for(place, b"second")
        write(place, first)
        before = place.files()
        with opened(place) as destination:
            data = second.blobs[0]
            with pytest.raises(Cancelled):
                destination.put_blob(descriptor_of(data), Bytes(data, fails=True), METER)
        assert place.files() == before
        assert_holds(place, first)

    def test_nothing_is_left_where_nothing_was(self, place: Place) -> None:
        image = image_for(place)
        before = place.files()
        with opened(place) as destination:
            put_blobs(destination, image)
        assert place.files() == before

    @pytest.mark.parametrize("change", [b"!", b"", b"longer " * 50_000])
    def test_wrong_bytes_are_refused_and_the_right_ones_taken(self, place: Place, change: bytes) -> None:
        image = image_for(place)
        with opened(place) as destination:
            for data in image.blobs:
                wrong = change + data[1:] if len(change) < 2 else data + change
                with pytest.raises(Corrupt):
                    destination.put_blob(descriptor_of(data), Bytes(wrong), METER)
                assert not destination.has_blob(descriptor_of(data))
            put_blobs(destination, image)
            destination.put_manifest(raw_of(image))
            destination.commit(Digest(image.digest))
        assert_holds(place, image)

    def test_a_manifest_with_another_digest_is_refused(self, place: Place) -> None:
        image = image_for(place)
        forged = replace(raw_of(image), data=image.manifest + b" ")
        with opened(place) as destination:
            put_blobs(destination, image)
            with pytest.raises(OrlopError):
                destination.put_manifest(forged)

    def test_an_image_is_not_committed_without_its_blobs(self, place: Place) -> None:
        image = image_for(place)
        with opened(place) as destination, pytest.raises(OrlopError):
            destination.put_manifest(raw_of(image))
            destination.commit(Digest(image.digest))
        with pytest.raises(OrlopError), reading(place) as source:
            source.manifest()

    def test_blobs_are_taken_and_given_in_parallel(self, place: Place) -> None:
        base = image_for(place)
        compression = base.layers[0].compression
        layers = tuple(Layer(tar({"file": bytes([n]) * 500_000}), compression) for n in range(8))
        image = replace(base, layers=layers)
        go = threading.Event()
        with opened(place) as destination, ThreadPoolExecutor(len(image.blobs)) as threads:
            tasks = [
                threads.submit(destination.put_blob, descriptor_of(data), Bytes(data, pause=go), METER)
                for data in (*image.blobs, image.blobs[0])
            ]
            go.set()
            for task in tasks:
                task.result()
            destination.put_manifest(raw_of(image))
            destination.commit(Digest(image.digest))
        with reading(place) as source, ThreadPoolExecutor(len(image.blobs)) as threads:
            wanted = [descriptor_of(data) for data in image.blobs]
            assert list(threads.map(lambda blob: read_blob(source, blob), wanted)) == list(image.blobs)

    def test_a_blob_that_is_not_there_is_not_found(self, place: Place) -> None:
        write(place, image_for(place))
        with reading(place) as source, pytest.raises(NotFound):
            read_blob(source, descriptor_of(b"nobody put this"))
        with reading(place) as source, pytest.raises(NotFound):
            source.manifest(Digest(images.digest(b"nor this")))

    def test_a_blob_of_another_size_is_refused(self, place: Place) -> None:
        image = image_for(place)
        write(place, image)
        for change in (-1, 1):
            blob = descriptor_of(image.blobs[1])
            with reading(place) as source, pytest.raises(Corrupt):
                read_blob(source, replace_size(blob, blob.size + change))

    def test_a_closed_source_ends_what_is_under_way(self, place: Place) -> None:
        image = replace(
            image_for(place),
            layers=(Layer(tar({"file": bytes(3_000_000)}), image_for(place).layers[0].compression),),
        )
        write(place, image)
        source = place.source()
        with source.open_blob(descriptor_of(image.blobs[0]), METER) as reader:
            source.close()
            source.close()
            with pytest.raises(OrlopError):
                drained(reader)

    def test_an_index_keeps_all_its_platforms(self, place: Place) -> None:
        with opened(place) as destination:
            if not destination.abilities.indexes:
                pytest.skip("this transport holds one image")
        members = tuple(
            image_for(place, name.encode(), architecture=name) for name in ("amd64", "arm64", "riscv64")
        )
        index = Index(members, schema=members[0].schema)
        write(place, index)
        with reading(place) as source:
            raw = source.manifest()
            assert (raw.data, raw.digest) == (index.manifest, index.digest)
            for member in members:
                assert source.manifest(Digest(member.digest)).data == member.manifest
                for data in member.blobs:
                    assert read_blob(source, descriptor_of(data)) == data

    def test_signatures_stay_with_their_manifest(self, place: Place) -> None:
        with opened(place) as destination:
            if not destination.abilities.signatures:
                pytest.skip("this transport holds no signatures")
        image = image_for(place)
        with opened(place) as destination:
            put_blobs(destination, image)
            destination.put_manifest(raw_of(image))
            for _ in range(2):
                destination.put_signatures(Digest(image.digest), (b"first", b"second"))
            destination.commit(Digest(image.digest))
        with reading(place) as source:
            assert source.signatures(Digest(image.digest)) == (b"first", b"second")
            assert source.signatures(Digest(images.digest(b"another"))) == ()


def replace_size(blob: Descriptor, size: int) -> Descriptor:
    return Descriptor(blob.media_type, blob.digest, size)


def artifact_of(subject: Image, kind: str, data: bytes = b"{}") -> tuple[RawManifest, tuple[bytes, ...]]:
    """A manifest that refers to `subject`, and its blobs."""
    blobs = (b"{}", data)
    document = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "artifactType": kind,
        "config": images.descriptor("application/vnd.oci.empty.v1+json", blobs[0]),
        "layers": [images.descriptor("text/plain", blobs[1])],
        "subject": images.descriptor(subject.media_type, subject.manifest),
        "annotations": {"org.example.note": "made by a test"},
    }
    raw = json.dumps(document).encode()
    return RawManifest(raw, manifests.OCI_MANIFEST, Digest(images.digest(raw))), blobs
