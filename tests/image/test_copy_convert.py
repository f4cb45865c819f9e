"""What a copy decides and writes, without any transport."""

from __future__ import annotations

import gzip
import io
import json
import random
import threading
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from orlop.image.copy.convert import index_type, of_manifest, rewritten_index, rewritten_manifest
from orlop.image.copy.options import CopyOptions
from orlop.image.copy.recompress import Recompressed
from orlop.image.digest import Digest
from orlop.image.manifest import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Index, Manifest, parse
from orlop.image.platform import Platform
from orlop.image.transport.destination import Abilities
from orlop.image.transport.locate import TRANSPORTS, Location, has_transport
from orlop.image.transport.locate import parse as locate
from orlop.image.transport.source import RawManifest
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, Unsupported
from tests.support import images
from tests.support.images import Image, Layer

ANY = Abilities()
KEEP = CopyOptions()


def raw_of(document: dict[str, Any] | Image) -> tuple[RawManifest, Manifest]:
    data = document.manifest if isinstance(document, Image) else json.dumps(document).encode()
    parsed = parse(data)
    assert isinstance(parsed, Manifest)
    return RawManifest(data, parsed.media_type, Digest.of(data)), parsed


def image(*compressions: str, schema: str = "oci") -> Image:
    return Image(tuple(Layer(b"%d" % n, kind) for n, kind in enumerate(compressions)), schema=schema)


# Names


@pytest.mark.parametrize(
    ("text", "transport", "path", "reference"),
    [
        ("busybox", "docker", "", "busybox"),
        ("docker://a.example/b:1", "docker", "", "a.example/b:1"),
        ("oci:/srv/x", "oci", "/srv/x", ""),
        ("oci:x:app:1", "oci", "x", "app:1"),
        ("docker-archive:/a.tar:busybox:latest", "docker-archive", "/a.tar", "busybox:latest"),
        ("dir:/a:b", "dir", "/a:b", ""),
        ("store:app:1", "store", "", "app:1"),
        ("containers-storage:[overlay@/a+/b]app:1", "containers-storage", "overlay@/a+/b", "app:1"),
        ("containers-storage:app:1", "containers-storage", "", "app:1"),
    ],
)
def test_names_have_a_transport_a_path_and_a_reference(
    text: str, transport: str, path: str, reference: str
) -> None:
    found = locate(text)
    assert (found.transport, found.path, found.reference) == (transport, path, reference)
    assert locate(str(found)) == found


@pytest.mark.parametrize(
    "text", ["", "docker:x", "docker://", "oci:", "oci::x", "ftp://x", "dir:", "oci:a\0"]
)
def test_what_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        locate(text)


@given(st.text())
def test_any_text_is_a_location_or_refused(text: str) -> None:
    try:
        found = locate(text, default="")
    except InvalidInput:
        return
    assert found.transport in TRANSPORTS
    assert has_transport(text)
    assert isinstance(found, Location)


# Decisions


def test_nothing_changes_where_nothing_must() -> None:
    for schema in ("oci", "docker"):
        _, parsed = raw_of(image("gzip", "zstd", "", schema=schema))
        for options in (KEEP, CopyOptions(format=schema) if schema == "oci" else KEEP):
            assert not of_manifest(parsed, options, ANY, "x").changes
    _, parsed = raw_of(image("gzip", "gzip"))
    assert not of_manifest(parsed, CopyOptions(compression="gzip", level=9), ANY, "x").changes


def test_a_destination_forces_only_what_it_must() -> None:
    _, parsed = raw_of(image("gzip", "", "zstd"))
    found = of_manifest(parsed, KEEP, Abilities(compressions=("",)), "x")
    assert (found.media_type, found.layers) == (OCI_MANIFEST, ("", None, ""))
    found = of_manifest(parsed, KEEP, Abilities(media_types=(DOCKER_MANIFEST,)), "x")
    assert (found.media_type, found.layers) == (DOCKER_MANIFEST, (None, None, "gzip"))
    with pytest.raises(InvalidInput, match="nothing that the destination"):
        of_manifest(parsed, CopyOptions(compression="zstd"), Abilities(compressions=("",)), "x")
    with pytest.raises(InvalidInput, match="nothing that the destination"):
        of_manifest(parsed, CopyOptions(format="oci"), Abilities(media_types=(DOCKER_MANIFEST,)), "x")


def test_layers_that_are_not_ours_to_unpack_stay() -> None:
    document = json.loads(image("gzip").manifest)
    for kind in (
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "application/vnd.in-toto+json",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ):
        document["layers"][0]["mediaType"] = kind
        _, parsed = raw_of(document)
        assert not of_manifest(parsed, CopyOptions(compression="zstd"), ANY, "x").changes
    docker = of_manifest(parsed, CopyOptions(format="docker"), ANY, "x")
    raw, parsed = raw_of(document)
    written = json.loads(rewritten_manifest(raw, parsed, docker, parsed.layers, "x").data)
    assert written["layers"][0]["mediaType"] == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    document["layers"][0]["mediaType"] = "application/vnd.in-toto+json"
    _, parsed = raw_of(document)
    with pytest.raises(Unsupported, match="has no form"):
        of_manifest(parsed, CopyOptions(format="docker"), ANY, "x")


def test_positions_within_a_layer_go_when_it_is_packed_anew() -> None:
    document = json.loads(image("zstd", "zstd").manifest)
    for layer in document["layers"]:
        layer["annotations"] = {
            "io.github.containers.zstd-chunked.manifest-position": "1:2:3:1",
            "org.example.kept": "yes",
        }
    raw, parsed = raw_of(document)
    conversion = of_manifest(parsed, CopyOptions(compression="gzip"), ANY, "x")
    written = json.loads(rewritten_manifest(raw, parsed, conversion, parsed.layers, "x").data)
    assert [layer["annotations"] for layer in written["layers"]] == [{"org.example.kept": "yes"}] * 2


def test_a_rewritten_manifest_has_no_word_of_another_format() -> None:
    document = json.loads(image("gzip").manifest)
    document |= {"annotations": {"a": "b"}, "artifactType": "x/y", "subject": document["config"]}
    raw, parsed = raw_of(document)
    conversion = of_manifest(parsed, CopyOptions(format="docker"), ANY, "x")
    made = rewritten_manifest(raw, parsed, conversion, parsed.layers, "x")
    assert set(json.loads(made.data)) == {"schemaVersion", "mediaType", "config", "layers"}
    assert made.digest == Digest.of(made.data)
    assert parse(made.data, made.media_type)


def test_an_index_takes_the_type_that_its_members_allow() -> None:
    index = images.Index((image("gzip", schema="docker"),), schema="docker")
    parsed = parse(index.manifest)
    assert isinstance(parsed, Index)
    assert index_type(parsed, [DOCKER_MANIFEST], KEEP, ANY) == DOCKER_LIST
    assert index_type(parsed, [OCI_MANIFEST], KEEP, ANY) == OCI_INDEX
    assert index_type(parsed, [DOCKER_MANIFEST], CopyOptions(format="oci"), ANY) == OCI_INDEX
    only = Abilities(media_types=(OCI_MANIFEST, OCI_INDEX))
    assert index_type(parsed, [OCI_MANIFEST], KEEP, only) == OCI_INDEX
    raw = RawManifest(index.manifest, DOCKER_LIST, Digest.of(index.manifest))
    member, _ = raw_of(image("gzip"))
    entry = {
        "platform": {"os": "linux"},
        "digest": "x",
        "size": 0,
        "mediaType": "y",
        "annotations": {"k": "v"},
    }
    made = json.loads(rewritten_index(raw, OCI_INDEX, [(entry, member)]).data)
    assert made["manifests"] == [
        {**entry, "mediaType": OCI_MANIFEST, "digest": member.digest, "size": len(member.data)}
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"all_platforms": True, "platforms": (Platform.parse("arm64"),)},
        {"signatures": True, "remove_signatures": True},
        {"compression": "zstd", "format": "docker"},
        {"level": 3},
        {"compression": "gzip", "level": 10},
        {"compression": "zstd", "level": 0},
        {"compression": "", "level": 1},
        {"format": "tar"},
    ],
)
def test_options_that_contradict_themselves_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        CopyOptions(**asked)


# Packing anew


class _Reader:
    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self._stream = io.BytesIO(data)
        self._error = error

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self._stream.readinto(buffer)
        if not count and self._error:
            raise self._error
        return count


def _all(reader: Recompressed) -> bytes:
    found, room = b"", memoryview(bytearray(70_001))
    while count := reader.readinto(room):
        found += room[:count]
    return found


DATA = random.Random(2).randbytes(700_000) + bytes(3_000_000)


@pytest.mark.parametrize("into", ["gzip", "zstd", ""])
@pytest.mark.parametrize("level", [None, 1, 9])
@pytest.mark.parametrize("threads", [0, 2])
def test_packed_anew_is_the_same_within(into: str, level: int | None, threads: int) -> None:
    packed = gzip.compress(DATA[:1_000_000], 1) + gzip.compress(DATA[1_000_000:], 1)  # two members
    for source in (packed, zstandard.compress(DATA), b"" if into else DATA):
        expected = b"" if source == b"" else DATA
        with Recompressed(_Reader(source), into, level, threads=threads, subject="x") as reader:
            made = _all(reader)
            assert reader.describe() == (Digest.of(made), len(made))
        if into == "gzip":
            assert gzip.decompress(made) == expected
            assert made[4:8] == bytes(4)  # no time
        elif into == "zstd":
            assert zstandard.ZstdDecompressor().decompressobj().decompress(made) == expected
        else:
            assert made == expected


def test_what_the_reader_says_of_its_bytes_is_passed_on() -> None:
    for data in (gzip.compress(DATA), gzip.compress(DATA)[:-9], b"\x1f\x8b" + bytes(100)):
        with (
            pytest.raises(Corrupt),
            Recompressed(
                _Reader(data, Corrupt("x", "y", hint="")), "zstd", None, threads=0, subject="x"
            ) as found,
        ):
            _all(found)


def test_a_bomb_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATIO_FLOOR", 1000)
    monkeypatch.setattr(limits, "LAYER_RATIO", 10)
    with (
        pytest.raises(LimitExceeded),
        Recompressed(_Reader(gzip.compress(bytes(9_000_000))), "zstd", None, threads=0, subject="x") as found,
    ):
        _all(found)


def test_a_reader_that_is_closed_early_leaves_no_thread() -> None:
    before = threading.active_count()
    for taken in (0, 1):
        with Recompressed(_Reader(gzip.compress(DATA * 20, 1)), "", None, threads=0, subject="x") as found:
            for _ in range(taken):
                found.readinto(bytearray(10))
    assert threading.active_count() == before
