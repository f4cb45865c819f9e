"""Manifests, indexes, configs and platforms: what is read, and what is refused as ambiguous."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.image import manifest as m
from orlop.image.config import ImageConfig
from orlop.image.manifest import Index, Manifest, check_image, parse
from orlop.image.platform import Platform, choices
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, OrlopError, Unsupported
from tests.support import images

SHA = "sha256:" + "a1" * 32
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor(**changes: Any) -> dict[str, Any]:
    return {"mediaType": LAYER, "digest": SHA, "size": 7, **changes}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": m.OCI_MANIFEST,
        "config": descriptor(mediaType="application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor()],
        **changes,
    }


def raw(**changes: Any) -> bytes:
    return json.dumps(
        {key: value for key, value in document(**changes).items() if value is not None}
    ).encode()


@pytest.mark.parametrize("schema", ["oci", "docker"])
def test_both_kinds_of_manifest_and_index_are_read(schema: str) -> None:
    image = images.Image((images.Layer(b"x", "gzip"), images.Layer(b"y", "")), schema=schema)
    parsed = parse(image.manifest, image.media_type)
    assert isinstance(parsed, Manifest)
    assert [layer.digest for layer in parsed.layers] == [layer.digest for layer in image.layers]
    check_image(parsed, "image")
    assert [m.compression(layer, "image") for layer in parsed.layers] == ["gzip", ""]
    index = images.Index((image,), schema=schema)
    listed = parse(index.manifest, f"{index.media_type}; charset=utf-8")
    assert isinstance(listed, Index)
    assert listed.manifests[0].digest == image.digest


@pytest.mark.parametrize("served", ["", "application/json", m.OCI_MANIFEST])
def test_a_manifest_needs_no_media_type_of_its_own(served: str) -> None:
    assert isinstance(parse(raw(mediaType=None), served), Manifest)


@pytest.mark.parametrize(
    ("data", "served"),
    [
        (raw(manifests=[]), ""),
        (raw(manifests=[], mediaType=None), ""),
        (raw(mediaType=m.OCI_INDEX, manifests=[]), ""),
        (raw(), m.OCI_INDEX),
        (raw(), m.DOCKER_MANIFEST),
        (raw(fsLayers=[]), ""),
        (raw(Layers=[]), ""),
        (raw(layers=[descriptor(Digest=SHA)]), ""),
        (b'{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}', ""),
        (b'{"schemaVersion":2,"config":{"digest":"a","digest":"b"},"layers":[]}', ""),
        (raw(schemaVersion=3), ""),
        (raw(schemaVersion=True), ""),
        (raw(schemaVersion=None), ""),
        (raw(config=None), ""),
        (raw(layers=None), ""),
        (raw(layers={}), ""),
        (raw(layers=[1]), ""),
        (raw(layers=[descriptor(size=-1)]), ""),
        (raw(layers=[descriptor(size=1.5)]), ""),
        (raw(layers=[descriptor(size="7")]), ""),
        (raw(layers=[descriptor(size=2**63)]), ""),
        (raw(layers=[descriptor(digest="sha256:../../etc")]), ""),
        (raw(layers=[descriptor(mediaType=5)]), ""),
        (raw(layers=[descriptor(platform=[])]), ""),
        (b"[]", ""),
        (b"{", ""),
        (b"\xff", ""),
        (b'{"schemaVersion": NaN}', ""),
        (b"[" * 100_000, ""),
        (b'{"size":' + b"9" * 10_000 + b"}", ""),
    ],
)
def test_what_is_malformed_or_ambiguous_is_refused(data: bytes, served: str) -> None:
    with pytest.raises(Corrupt):
        parse(data, served)


@pytest.mark.parametrize(
    ("data", "served"),
    [
        (json.dumps({"schemaVersion": 1, "fsLayers": []}).encode(), ""),
        (raw(), "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        (raw(mediaType="application/vnd.example+json"), ""),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, served: str) -> None:
    with pytest.raises(Unsupported):
        parse(data, served)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "foreign"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "foreign"),
        (LAYER + "+encrypted", "encrypted"),
        ("text/html", "unknown type"),
    ],
)
def test_layers_that_cannot_be_unpacked_are_refused_by_name(kind: str, words: str) -> None:
    parsed = parse(raw(layers=[descriptor(mediaType=kind)]))
    assert isinstance(parsed, Manifest)
    with pytest.raises(Unsupported, match=words):
        check_image(parsed, "image")


def test_an_artifact_is_no_image() -> None:
    parsed = parse(
        raw(config=descriptor(mediaType="application/vnd.oci.empty.v1+json"), artifactType="text/sbom")
    )
    assert isinstance(parsed, Manifest)
    with pytest.raises(Unsupported, match="text/sbom"):
        check_image(parsed, "image")


def test_too_many_layers_and_too_long_manifests_are_refused() -> None:
    parsed = parse(raw(layers=[descriptor()] * (limits.LAYERS_PER_IMAGE + 1)))
    assert isinstance(parsed, Manifest)
    with pytest.raises(LimitExceeded):
        check_image(parsed, "image")
    with pytest.raises(LimitExceeded):
        parse(b" " * (limits.MANIFEST_SIZE + 1))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*document(), "manifests", "subject", "x"]), _json), st.booleans())
def test_hostile_manifests_end_in_an_error_of_ours(changes: dict[str, Any], keep: bool) -> None:
    data = json.dumps({**(document() if keep else {}), **changes}).encode()
    try:
        parsed = parse(data)
        if isinstance(parsed, Manifest):
            check_image(parsed, "image")
        else:
            choices(parsed, Platform("linux", "amd64"), "image")
    except OrlopError:
        pass


# Configs


def test_a_config_is_read_with_absent_and_null_as_empty() -> None:
    config = ImageConfig.from_json(
        json.dumps(
            {
                "os": "linux",
                "architecture": "arm64",
                "variant": "v8",
                "created": "2026-01-01T00:00:00Z",
                "config": {
                    "Env": ["A=b"],
                    "Cmd": ["sh"],
                    "Entrypoint": None,
                    "User": "nobody",
                    "Labels": {"a": "b"},
                    "ExposedPorts": {"80/tcp": {}},
                    "Volumes": {"/data": {}},
                    "WorkingDir": "/srv",
                    "StopSignal": "SIGINT",
                },
                "rootfs": {"type": "layers", "diff_ids": [SHA]},
                "history": [{"created_by": "x"}],
            }
        ).encode()
    )
    assert (config.env, config.cmd, config.entrypoint, config.user) == (("A=b",), ("sh",), (), "nobody")
    assert (config.exposed_ports, config.volumes, config.working_dir) == (("80/tcp",), ("/data",), "/srv")
    assert (config.labels, config.stop_signal, config.diff_ids) == ({"a": "b"}, "SIGINT", (SHA,))
    assert len(config.history) == 1
    empty = ImageConfig.from_json(b'{"config": null, "architecture": "amd64"}')
    assert (empty.os, empty.env, empty.diff_ids) == ("linux", (), ())


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b'{"config": []}',
        b'{"config": {"Env": "A=b"}}',
        b'{"config": {"Env": [1]}}',
        b'{"config": {"Cmd": "sh"}}',
        b'{"config": {"Labels": {"a": 1}}}',
        b'{"config": {"User": "a", "User": "root"}}',
        b'{"rootfs": {"type": "zip"}}',
        b'{"rootfs": {"diff_ids": ["sha256:x"]}}',
        b'{"history": [1]}',
        b'{"os": 1}',
    ],
)
def test_a_malformed_config_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        ImageConfig.from_json(data)


@given(st.dictionaries(st.sampled_from(["os", "config", "rootfs", "history", "created"]), _json))
def test_hostile_configs_end_in_an_error_of_ours(content: dict[str, Any]) -> None:
    with contextlib.suppress(OrlopError):
        ImageConfig.from_json(json.dumps(content).encode())


# Platforms


def index_of(*platforms: str | None) -> Index:
    entries = []
    for number, text in enumerate(platforms):
        entry = descriptor(mediaType=m.OCI_MANIFEST, size=number)
        if text is not None:
            parts = text.split("/")
            entry["platform"] = dict(zip(("os", "architecture", "variant"), parts, strict=False))
        entries.append(entry)
    parsed = parse(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(parsed, Index)
    return parsed


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], 1),
        ("linux/amd64", ["windows/amd64", "linux/amd64"], 1),
        ("linux/amd64", ["linux/amd64/v1"], 0),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2"], 1),
        ("linux/arm64", ["linux/arm/v7", "linux/arm64/v8"], 1),
        ("linux/aarch64", ["linux/arm64"], 0),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], 1),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v5"], 1),
        ("amd64", ["unknown/unknown", "linux/amd64"], 1),
        ("amd64", [None], 0),
        ("ppc64le", ["linux/ppc64le"], 0),
    ],
)
def test_the_entry_that_fits_best_is_chosen(wanted: str, there: list[str | None], chosen: int) -> None:
    assert choices(index_of(*there), Platform.parse(wanted), "image")[0].size == chosen


@pytest.mark.parametrize("there", [["linux/arm64", "linux/arm/v6"], ["linux/amd64/v3"], [None, None], []])
def test_no_match_names_what_there_is(there: list[str | None]) -> None:
    with pytest.raises(NotFound) as caught:
        choices(index_of(*there), Platform.parse("linux/amd64"), "image")
    for text in filter(None, there):
        assert text in str(caught.value)


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/am d64", "linux//v7"])
def test_a_malformed_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        Platform.parse(text)
