"""Copies between real registries; skopeo judges what arrives."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orlop.image.auth import Credentials
from orlop.image.decompress import decompressed
from orlop.image.platform import Platform
from orlop.image.registries.load import parse as registries_conf
from orlop.kit.errors import Cancelled, Conflict, Corrupt, Denied, InvalidInput, NotFound, Unsupported
from tests.image.copying import copied, digest_of, opening, raw, raw_json, skopeo, whole
from tests.image.faulty import cut, faulty, instead, stall, status
from tests.support.images import DOCKER, Image, Index, Layer, digest, push, tar
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ARM = Platform.parse("linux/arm64")
AMD = Platform.parse("linux/amd64")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def source() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture(scope="module")
def target() -> Iterator[Registry]:
    with registry() as running:
        yield running


def noise(size: int, seed: int = 1) -> bytes:
    """Half of it can be packed."""
    return random.Random(seed).randbytes(size // 2) + bytes(size // 2)


def image(*compressions: str, architecture: str = "amd64", schema: str = "oci", seed: int = 1) -> Image:
    layers = tuple(
        Layer(tar({f"file{number}": noise(3_000_000, seed + number)}), kind)
        for number, kind in enumerate(compressions)
    )
    return Image(layers, {"Cmd": ["sh"]}, architecture=architecture, schema=schema)


def both(schema: str = "oci") -> Index:
    members = image("gzip", schema=schema), image("gzip", "gzip", architecture="arm64", schema=schema, seed=9)
    return Index(members, schema=schema)


def layers_of(registry_: Registry, repository: str, manifest: dict[str, Any]) -> list[bytes]:
    import urllib3

    pool = urllib3.PoolManager()
    found = []
    for layer in manifest["layers"]:
        answer = pool.request("GET", f"{registry_.url}/v2/{repository}/blobs/{layer['digest']}")
        assert answer.status == 200
        assert len(answer.data) == layer["size"]
        found.append(answer.data)
    return found


@pytest.mark.parametrize("schema", ["oci", "docker"])
def test_an_index_arrives_as_it_is_with_everything_below_it(
    source: Registry, target: Registry, tmp_path: Path, schema: str
) -> None:
    index = both(schema)
    name = push(source, f"all/{schema}:1", index)
    destination = f"docker://{target.reference(f'all/{schema}:1')}"
    done = copied(f"docker://{name}", destination, all_platforms=True, preserve_digests=True)
    assert done.digest == index.digest
    assert raw(destination) == index.manifest
    assert (done.manifests, done.there) == (3, 0)
    whole(destination, tmp_path / "seen")
    again = copied(f"docker://{name}", destination, all_platforms=True)
    assert (again.sent, again.bytes) == (0, 0)


def test_without_options_this_machines_image_is_copied_and_skopeo_agrees(
    source: Registry, target: Registry
) -> None:
    name = push(source, "one/amd:1", both())
    destination = f"docker://{target.reference('one/amd:1')}"
    done = copied(f"docker://{name}", destination)
    theirs = f"docker://{target.reference('one/theirs:1')}"
    flags = ["--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"]
    skopeo("copy", "-q", *flags, f"docker://{name}", theirs)
    assert raw(destination) == raw(theirs)
    assert done.digest == digest_of(raw(theirs))


def test_chosen_platforms_make_an_index_of_those_and_one_a_plain_manifest(
    source: Registry, target: Registry, tmp_path: Path
) -> None:
    index = Index((*both().members, image("gzip", architecture="riscv64", seed=40)))
    name = push(source, "some:1", index)
    destination = f"docker://{target.reference('some:1')}"
    copied(f"docker://{name}", destination, platforms=(ARM,))
    assert raw(destination) == index.members[1].manifest
    copied(f"docker://{name}", destination, platforms=(ARM, AMD))
    document = raw_json(destination)
    assert [entry["digest"] for entry in document["manifests"]] == [
        digest(index.members[1].manifest),
        digest(index.members[0].manifest),
    ]
    assert all(entry["platform"]["os"] == "linux" for entry in document["manifests"])
    whole(destination, tmp_path / "seen")
    with pytest.raises(Conflict, match="only some of its platforms"):
        copied(f"docker://{name}", destination, platforms=(ARM, AMD), preserve_digests=True)
    with pytest.raises(NotFound, match="s390x"):
        copied(f"docker://{name}", destination, platforms=(Platform.parse("linux/s390x"),))


def test_a_single_image_of_another_platform_is_not_taken_for_the_wanted_one(
    source: Registry, target: Registry
) -> None:
    name = push(source, "single:1", image("gzip"))
    with pytest.raises(NotFound, match=r"no image for linux/arm64; it has linux/amd64"):
        copied(f"docker://{name}", f"docker://{target.reference('single:1')}", platforms=(ARM,))


@pytest.mark.parametrize(
    ("compression", "head"), [("zstd", b"\x28\xb5\x2f\xfd"), ("gzip", b"\x1f\x8b"), ("", b"")]
)
def test_layers_are_packed_anew_only_where_they_must_be(
    source: Registry, target: Registry, tmp_path: Path, compression: str, head: bytes
) -> None:
    original = image("gzip", "zstd", "", "gzip")
    name = push(source, f"pack/{compression or 'none'}:1", original)
    repository = f"pack/to-{compression or 'none'}"
    destination = f"docker://{target.reference(f'{repository}:1')}"
    copied(f"docker://{name}", destination, compression=compression)
    manifest = raw_json(destination)
    assert manifest["config"]["digest"] == original.id
    blobs = layers_of(target, repository, manifest)
    for layer, entry, blob in zip(original.layers, manifest["layers"], blobs, strict=True):
        assert entry["mediaType"].endswith(f"+{compression}" if compression else ".tar")
        assert blob.startswith(head)
        assert (blob == layer.blob) == (layer.compression == compression)
        assert b"".join(decompressed(iter([blob]), "layer")) == layer.tar
    whole(destination, tmp_path / "seen")


def test_a_conversion_is_the_same_each_time(source: Registry, target: Registry) -> None:
    name = push(source, "same:1", image("gzip", "zstd"))
    made = {
        copied(f"docker://{name}", f"docker://{target.reference(f'same{n}:1')}", compression="gzip").digest
        for n in range(2)
    }
    assert len(made) == 1


@pytest.mark.parametrize("level", [1, 12])
def test_a_level_is_obeyed(source: Registry, target: Registry, level: int) -> None:
    words = " ".join(str(number * 7919) for number in range(300_000)).encode()
    name = push(source, "level:1", Image((Layer(tar({"f": words})),)))
    destination = f"docker://{target.reference(f'level:{level}')}"
    copied(f"docker://{name}", destination, compression="zstd", level=level)
    import zstandard

    expected = len(zstandard.ZstdCompressor(level=level).compress(tar({"f": words})))
    (found,) = raw_json(destination)["layers"]
    assert abs(found["size"] - expected) < expected * 0.1


def test_formats_are_converted_both_ways_and_digests_come_back(source: Registry, target: Registry) -> None:
    index = both()
    name = push(source, "format:1", index)
    docker = f"docker://{target.reference('format:docker')}"
    copied(f"docker://{name}", docker, all_platforms=True, format="docker")
    listed = raw_json(docker)
    assert listed["mediaType"] == DOCKER_LIST
    assert {entry["mediaType"] for entry in listed["manifests"]} == {DOCKER_MANIFEST}
    back = f"docker://{target.reference('format:oci')}"
    copied(docker, back, all_platforms=True, format="oci")
    document = raw_json(back)
    assert document["mediaType"] == OCI_INDEX
    for entry, member in zip(document["manifests"], index.members, strict=True):
        assert isinstance(member, Image)
        inner = raw_json(f"docker://{target.address}/format@{entry['digest']}")
        assert inner == json.loads(member.manifest)
    with pytest.raises(Conflict, match="preserved"):
        copied(docker, back, all_platforms=True, format="oci", preserve_digests=True)


def test_dockers_format_takes_no_zstd(source: Registry, target: Registry) -> None:
    plain = push(source, "nozstd:docker", image("gzip", schema=DOCKER))
    destination = f"docker://{target.reference('nozstd:1')}"
    copied(f"docker://{plain}", destination, compression="zstd")
    assert raw_json(destination)["mediaType"] == OCI_MANIFEST
    packed = push(source, "nozstd:oci", image("zstd"))
    copied(f"docker://{packed}", destination, format="docker")
    (layer,) = raw_json(destination)["layers"]
    assert layer["mediaType"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"
    with pytest.raises(InvalidInput, match="no zstd"):
        copied(f"docker://{plain}", destination, compression="zstd", format="docker")


def test_preserve_digests_fails_before_anything_is_written(source: Registry, target: Registry) -> None:
    name = push(source, "keep:1", image("gzip", seed=77))
    before = target.requests("PUT /v2/keep/") + target.requests("POST /v2/keep/")
    with pytest.raises(Conflict, match="would not be preserved"):
        copied(
            f"docker://{name}",
            f"docker://{target.reference('keep:1')}",
            compression="zstd",
            preserve_digests=True,
        )
    assert target.requests("PUT /v2/keep/") + target.requests("POST /v2/keep/") == before


def test_blobs_of_the_same_registry_are_mounted_not_sent(source: Registry) -> None:
    original = image("gzip", "gzip", seed=300)
    name = push(source, "mount/from:1", original)
    sent = source.requests("PATCH /v2/mount/to") + source.requests("PUT /v2/mount/to/blobs")
    done = copied(f"docker://{name}", f"docker://{source.reference('mount/to:1')}")
    assert (done.sent, done.there) == (0, 3)
    assert source.requests("PATCH /v2/mount/to") + source.requests("PUT /v2/mount/to/blobs") == sent
    assert source.requests("mount=") >= 3


def test_artifacts_are_copied_as_they_are(source: Registry, target: Registry, tmp_path: Path) -> None:
    from tests.support.images import Pusher

    pusher = Pusher(source)
    chart = b"not a tar at all" * 1000
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.cncf.helm.config.v1+json",
            "digest": pusher.put_blob("chart", b'{"name":"chart"}'),
            "size": 16,
        },
        "layers": [
            {
                "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
                "digest": pusher.put_blob("chart", chart),
                "size": len(chart),
                "annotations": {"org.opencontainers.image.title": "chart.tgz"},
            }
        ],
    }
    data = json.dumps(manifest).encode()
    pusher.put_manifest("chart", "1", data, OCI_MANIFEST)
    destination = f"docker://{target.reference('chart:1')}"
    copied(f"docker://{source.reference('chart:1')}", destination, compression="zstd")
    assert raw(destination) == data
    copied(destination, f"oci:{tmp_path}/layout:chart")
    with pytest.raises(Unsupported, match="artifact"):
        copied(f"docker://{source.reference('chart:1')}", destination, format="docker")


def test_files_and_registries_in_a_circle_end_with_the_same_digests(
    source: Registry, target: Registry, tmp_path: Path
) -> None:
    index = both()
    here = f"docker://{push(source, 'circle:1', index)}"
    for number, place in enumerate(
        (f"oci:{tmp_path}/layout:x", f"oci-archive:{tmp_path}/a.tar:x", f"dir:{tmp_path}/d")
    ):
        copied(here, place, all_platforms=True, preserve_digests=True)
        here = f"docker://{target.reference(f'circle:{number}')}"
        done = copied(place, here, all_platforms=True, preserve_digests=True)
        assert done.digest == index.digest
        assert raw(here) == index.manifest
    copied(here, f"docker-archive:{tmp_path}/b.tar:circle:1")
    document = json.loads(skopeo("inspect", "--config", f"docker-archive:{tmp_path}/b.tar"))
    assert document["rootfs"]["diff_ids"] == [layer.diff_id for layer in _first(index).layers]
    with pytest.raises(Unsupported, match="one platform"):
        copied(here, f"docker-archive:{tmp_path}/c.tar:circle:1", all_platforms=True)


def _first(index: Index) -> Image:
    member = index.members[0]
    assert isinstance(member, Image)
    return member


def test_eight_copies_at_once(source: Registry, target: Registry, tmp_path: Path) -> None:
    names = [push(source, f"eight/{number}:1", image("gzip", "zstd", seed=number)) for number in range(4)]

    def one(number: int) -> str:
        compression = "zstd" if number % 2 else None
        destination = f"docker://{target.reference(f'eight/{number % 2}:{number}')}"
        return copied(f"docker://{names[number % 4]}", destination, compression=compression).digest

    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(one, range(8)))
    for number, found in enumerate(digests):
        destination = f"docker://{target.reference(f'eight/{number % 2}:{number}')}"
        assert digest_of(raw(destination)) == found
        whole(destination, tmp_path / str(number))


def test_tokens_are_asked_for_with_the_scopes_that_a_push_and_a_mount_need(source: Registry) -> None:
    name = push(source, "token:1", image("gzip"))
    with registry(users={"ada": "secret"}, token=True) as guarded:
        destination = f"docker://{guarded.reference('team/app:1')}"
        with pytest.raises(Denied):
            copied(f"docker://{name}", destination)
        with pytest.raises(Denied):
            copied(f"docker://{name}", destination, options=opening(Credentials("ada", "wrong")))
        # The credentials are for both sides here: the source asks for none.
        options = opening(Credentials("ada", "secret"))
        copied(f"docker://{name}", destination, options=options)
        copied(
            destination,
            f"docker://{guarded.reference('team/copy:1')}",
            options=opening(Credentials("ada", "secret")),
        )
        assert guarded.tokens is not None
        asked = " ".join(path for _, path, _ in guarded.tokens.requests)
        assert "scope=repository%3Ateam%2Fapp%3Apull%2Cpush" in asked
        assert "scope=repository%3Ateam%2Fcopy%3Apull%2Cpush&scope=repository%3Ateam%2Fapp%3Apull" in asked
        seen = skopeo("inspect", "--raw", "--tls-verify=false", "--creds", "ada:secret", destination)
        assert digest_of(seen.encode()) == digest_of(raw(f"docker://{name}"))


def test_a_tokens_end_in_the_middle_is_survived(source: Registry) -> None:
    name = push(source, "short:1", image("gzip", "gzip", "gzip"))
    with registry(users={"ada": "secret"}, token=True, token_seconds=1) as guarded:
        destination = f"docker://{guarded.reference('short:1')}"
        done = copied(f"docker://{name}", destination, options=opening(Credentials("ada", "secret")))
        assert done.sent == 4


def test_registries_conf_rewrites_and_blocks_a_destination(source: Registry, target: Registry) -> None:
    name = push(source, "conf:1", image("gzip"))
    conf = registries_conf(
        f'[[registry]]\nprefix = "example.org/team"\nlocation = "{target.address}/mapped"\ninsecure = true\n'
        f'[[registry.mirror]]\nlocation = "127.0.0.1:1/never"\n'
        '[[registry]]\nlocation = "blocked.example"\nblocked = true\n'
    )
    copied(f"docker://{name}", "docker://example.org/team/app:1", options=opening(registries=conf))
    assert raw(f"docker://{target.reference('mapped/app:1')}") == raw(f"docker://{name}")
    with pytest.raises(Denied, match="blocks"):
        copied(f"docker://{name}", "docker://blocked.example/app:1", options=opening(registries=conf))


# What goes wrong


@pytest.mark.parametrize("compression", [None, "zstd"])
@pytest.mark.parametrize("fault", ["other bytes", "too short", "garbage packed"])
def test_wrong_bytes_never_get_a_name(target: Registry, fault: str, compression: str | None) -> None:
    original = image("gzip", "gzip")
    blob = original.layers[0].blob
    wrong = {
        "other bytes": bytes(len(blob)),
        "too short": blob[:-10],
        "garbage packed": blob[: len(blob) // 2] + bytes(len(blob) - len(blob) // 2),
    }[fault]
    repository = f"wrong/{fault.replace(' ', '-')}-{compression or 'plain'}"
    with faulty(original) as server:
        server.always[f"blobs/{original.layers[0].digest}"] = instead(wrong)
        with pytest.raises(Corrupt):
            copied(
                f"docker://{server.reference()}",
                f"docker://{target.reference(f'{repository}:1')}",
                compression=compression,
            )
    skopeo(
        "inspect", "--raw", "--tls-verify=false", f"docker://{target.reference(f'{repository}:1')}", code=1
    )


def test_a_source_that_breaks_is_resumed(target: Registry) -> None:
    original = image("gzip", "zstd")
    with faulty(original) as server:
        for layer in original.layers:
            server.faults[f"blobs/{layer.digest}"] = [cut(100_000), status(503), cut(700_000)]
        destination = f"docker://{target.reference('resumed:1')}"
        copied(f"docker://{server.reference()}", destination)
        copied(
            f"docker://{server.reference()}", f"docker://{target.reference('resumed:2')}", compression="zstd"
        )
    assert raw(destination) == original.manifest


def test_a_manifest_with_another_digest_is_refused(target: Registry) -> None:
    index = both()
    member = index.members[1]
    with faulty(index) as server:
        server.always[f"manifests/{digest(member.manifest)}"] = instead(member.manifest + b" ")
        with pytest.raises(Corrupt, match="digest"):
            copied(
                f"docker://{server.reference()}", f"docker://{target.reference('lied:1')}", all_platforms=True
            )
    assert target.requests("PUT /v2/lied/") == 0


def test_a_cancelled_copy_ends_soon_and_leaves_no_name(target: Registry) -> None:
    original = image("gzip")
    options = opening()
    with faulty(original) as server:
        server.always[f"blobs/{original.layers[0].digest}"] = stall(30, after=1000)
        timer = threading.Timer(0.5, options.cancellation.cancel)
        timer.start()
        begun = time.monotonic()
        with pytest.raises(Cancelled):
            copied(
                f"docker://{server.reference()}",
                f"docker://{target.reference('cancelled:1')}",
                options=options,
            )
        assert time.monotonic() - begun < 15  # of the 30 that the source takes
    skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target.reference('cancelled:1')}", code=1)
