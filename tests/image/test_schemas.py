"""Everything that we write against the JSON schemas of the OCI image specification."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.cli.program import orlop
from tests.image.peers import ours, peers
from tests.support import schemas
from tests.support.images import (
    DOCKER,
    Image,
    Index,
    Layer,
    busybox_layer,
    descriptor,
    digest,
    push,
    tar,
    write_layout,
)
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYERS = (Layer(tar({"one": b"1" * 4000})), Layer(tar({"two": b"2" * 4000})))


def image_of(**changes: Any) -> Image:
    return Image(LAYERS, {"Cmd": ["sh"], "Labels": {"a": "b"}, "ExposedPorts": {"80/tcp": {}}}, **changes)


def check_layout(folder: Path) -> dict[str, int]:
    """Every document of a layout; how many of each kind there were."""
    schemas.check("layout", (folder / "oci-layout").read_bytes())
    seen: dict[str, int] = {}
    _check(folder, "index", (folder / "index.json").read_bytes(), seen, set())
    return seen


def _check(folder: Path, kind: str, data: bytes, seen: dict[str, int], done: set[str]) -> None:
    schemas.check(kind, data)
    seen[kind] = seen.get(kind, 0) + 1
    document = json.loads(data)
    kinds = {_INDEX: "index", _MANIFEST: "manifest", _CONFIG: "config"}
    below = [*document.get("manifests", ()), *document.get("layers", ())]
    for entry in [*below, *([document["config"]] if kind == "manifest" else [])]:
        schemas.check("descriptor", entry)
        if entry["mediaType"] in kinds and entry["digest"] not in done:
            done.add(entry["digest"])
            blob = (folder / "blobs" / entry["digest"].replace(":", "/")).read_bytes()
            assert (digest(blob), len(blob)) == (entry["digest"], entry["size"])
            _check(folder, kinds[entry["mediaType"]], blob, seen, done)


@pytest.fixture
def origin() -> Iterator[Registry]:
    with registry() as running:
        yield running


@pytest.fixture(autouse=True)
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in (("ORLOP_ROOT", "r"), ("ORLOP_STATE", "s")):
        monkeypatch.setenv(variable, str(tmp_path / "node" / name))
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd"},
        {"compression": ""},
        {"compression": "gzip", "level": 9},
        {"format": "oci"},
    ],
)
@pytest.mark.parametrize("schema", ["oci", DOCKER])
def test_copies(tmp_path: Path, options: Mapping[str, Any], schema: str) -> None:
    index = Index((image_of(schema=schema), image_of(schema=schema, architecture="arm64")), schema=schema)
    start = f"oci:{write_layout(tmp_path / 'seed', {'all': index, 'one': image_of(schema=schema)})}"
    ours(f"{start}:one", f"oci:{tmp_path}/l:one", **options)
    ours(f"{start}:all", f"oci:{tmp_path}/l:all", all_platforms=True, **options)
    ours(f"{start}:one", f"oci:{tmp_path}/l", **options)
    assert check_layout(tmp_path / "l") == {"index": 2, "manifest": 2, "config": 2}


def test_archives(tmp_path: Path) -> None:
    start = f"oci:{write_layout(tmp_path / 'seed', {'v1': image_of()})}:v1"
    for end in ("oci-archive:{}/o.tar:v1", "docker-archive:{}/d.tar:example.com/a:1"):
        ours(start, end.format(tmp_path))
    for name in ("o", "d"):
        with tarfile.open(tmp_path / f"{name}.tar") as archive:
            archive.extractall(tmp_path / name)
        assert check_layout(tmp_path / name) == {"index": 1, "manifest": 1, "config": 1}


def test_syncs(origin: Registry, tmp_path: Path) -> None:
    push(origin, "a:oci", image_of())
    push(origin, "a:docker", image_of(schema=DOCKER))
    push(origin, "a:all", Index((image_of(), image_of(architecture="arm64"))))
    orlop("image", "sync", "--tls-verify=false", "--all", f"docker://{origin.address}/a", f"oci:{tmp_path}/l")
    found = check_layout(tmp_path / "l")
    assert found["index"] == 2
    assert found["config"] == 2


def test_migrations(tmp_path: Path) -> None:
    start = f"oci:{write_layout(tmp_path / 'seed', {'v1': image_of()})}:v1"
    with peers() as tools:
        tools.skopeo("copy", start, f"containers-storage:[{tools.place}]example.com/a:1")
        ours(f"containers-storage:[{tools.place}]example.com/a:1", f"oci:{tmp_path}/l:v1")
    assert check_layout(tmp_path / "l") == {"index": 1, "manifest": 1, "config": 1}


def test_imports_and_what_the_store_gives_out(origin: Registry, tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(busybox_layer().tar)
    change = ("--change", 'CMD ["/bin/sh"]', "--change", "EXPOSE 80", "--change", "VOLUME /data")
    orlop("image", "import", str(tmp_path / "rootfs.tar"), "base:1", *change, "-m", "first")
    orlop("image", "copy", "store:base:1", f"oci:{tmp_path}/l:base")
    push(origin, "a:docker", image_of(schema=DOCKER))
    orlop("image", "pull", "--tls-verify=false", f"{origin.address}/a:docker")
    orlop("image", "copy", f"store:{origin.address}/a:docker", f"oci:{tmp_path}/l:docker")
    assert check_layout(tmp_path / "l") == {"index": 1, "manifest": 2, "config": 2}


def test_builds(tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar").write_bytes(busybox_layer().tar)
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("hello")
    (context / "Containerfile").write_text(
        "ARG WHO=me\nFROM scratch AS base\nADD rootfs.tar /\nFROM base\nARG WHO\n"
        "COPY --chown=1:2 file /file\n"
        "RUN echo $WHO >/who\nENV A=b\nLABEL c=d\nEXPOSE 80/udp\nVOLUME /data\nWORKDIR /srv\nUSER 1:2\n"
        'STOPSIGNAL SIGINT\nSHELL ["/bin/sh", "-c"]\nHEALTHCHECK --interval=5s CMD true\n'
        'ONBUILD RUN true\nENTRYPOINT ["/bin/sh"]\nCMD ["-c", "true"]\n'
    )
    os.link(tmp_path / "rootfs.tar", context / "rootfs.tar")
    orlop("build", "-t", "built:1", "--network=none", "--annotation", "org.example.a=b", str(context))
    orlop("image", "copy", "store:built:1", f"oci:{tmp_path}/l:built")
    found = check_layout(tmp_path / "l")
    assert found == {"index": 1, "manifest": 1, "config": 1}


@pytest.mark.parametrize("attach", ["tag", "referrers"])
def test_signatures(origin: Registry, tmp_path: Path, attach: str) -> None:
    push(origin, "a:1", image_of())
    key = str(tmp_path / "k")
    orlop("image", "generate-key", "--prefix", key)
    name = f"{origin.address}/a:1"
    sign = ("image", "sign", "--key", f"{key}.key", "--attach", attach)
    orlop(*sign, "--tls-verify=false", name)
    orlop("image", "copy", "--tls-verify=false", "--signatures", f"docker://{name}", f"oci:{tmp_path}/l:v1")
    found = check_layout(tmp_path / "l")
    assert found["manifest"] >= 2, "the signature did not come along"
    orlop("image", "copy", f"oci:{tmp_path}/l:v1", f"oci:{tmp_path}/m:v1")
    orlop(*sign, "--identity", "example.com/a:1", f"oci:{tmp_path}/m:v1")
    assert check_layout(tmp_path / "m")["manifest"] >= 2


def test_lists_of_referrers_at_a_registry_without_them(origin: Registry, tmp_path: Path) -> None:
    """Debian's docker-registry has no referrers API: we keep the list, under a tag."""
    image = image_of()
    push(origin, "a:1", image)
    orlop("image", "generate-key", "--prefix", f"{tmp_path}/k")
    name = f"{origin.address}/a:1"
    orlop("image", "sign", "--key", f"{tmp_path}/k.key", "--attach=referrers", "--tls-verify=false", name)
    answer = urllib3.PoolManager().request(
        "GET", f"{origin.url}/v2/a/manifests/sha256-{image.digest[7:]}", headers={"Accept": _INDEX}
    )
    assert answer.status == 200
    schemas.check("index", answer.data)


def test_the_schemas_can_fail() -> None:
    good = json.loads(image_of().manifest)
    schemas.check("manifest", good)
    changes: tuple[dict[str, Any], ...] = (
        {"config": None},
        {"layers": []},
        {"layers": [{**descriptor("a/b", b""), "size": "1"}]},
        {"schemaVersion": 1},
        {"annotations": {"a": 1}},
    )
    for change in changes:
        with pytest.raises(AssertionError):
            schemas.check("manifest", {**good, **change})
    with pytest.raises(AssertionError):
        schemas.check("index", {"schemaVersion": 2, "manifests": [{"mediaType": "a/b", "size": 1}]})
    with pytest.raises(AssertionError):
        schemas.check("config", {"os": "linux", "architecture": "amd64"})
    with pytest.raises(AssertionError):
        schemas.check("layout", {"imageLayoutVersion": "3"})
    with pytest.raises(AssertionError):
        schemas.check("descriptor", {"mediaType": "none", "digest": "sha256:x", "size": 1})
