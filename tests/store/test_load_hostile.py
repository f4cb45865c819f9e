"""Every archive of the corpus as a layer of an image in a file: what loads it refuses it whole."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.image.pull import load
from orlop.image.transport.dir import DirSource
from orlop.image.transport.docker_archive import DockerArchiveSource
from orlop.image.transport.oci import OciSource
from orlop.image.transport.oci_archive import OciArchiveSource
from orlop.image.transport.source import Source
from orlop.kit.errors import Corrupt, LimitExceeded
from orlop.kit.node import Node
from orlop.kit.tasks import Cancellation
from orlop.store.model import StoreSettings
from orlop.store.store import Store
from tests.store.corpus import CORPUS, Hostile
from tests.support.images import descriptor, digest, tar, write_layout

pytestmark = pytest.mark.host


class Forged:
    """An image of one layer, whose blob is hostile."""

    def __init__(self, blob: bytes, *, packed: bool) -> None:
        self.blob = blob
        self.config = json.dumps(
            {
                "os": "linux",
                "architecture": "amd64",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest(b"" if packed else blob)]},
            }
        ).encode()
        kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if packed else "")
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": descriptor("application/vnd.oci.image.config.v1+json", self.config),
                "layers": [descriptor(kind, blob)],
            }
        ).encode()

    def layout(self, folder: Path) -> Path:
        write_layout(folder, {})
        for data in (self.blob, self.config, self.manifest):
            (folder / "blobs/sha256" / digest(data)[7:]).write_bytes(data)
        entry = descriptor("application/vnd.oci.image.manifest.v1+json", self.manifest)
        index = {"schemaVersion": 2, "manifests": [entry]}
        (folder / "index.json").write_text(json.dumps(index))
        return folder


def as_oci(image: Forged, folder: Path) -> Source:
    return OciSource(str(image.layout(folder / "l")))


def as_oci_archive(image: Forged, folder: Path) -> Source:
    layout = image.layout(folder / "l")
    names = [path for path in sorted(layout.rglob("*")) if path.is_file()]
    (folder / "x").write_bytes(tar({str(path.relative_to(layout)): path.read_bytes() for path in names}))
    return OciArchiveSource(str(folder / "x"))


def as_docker_archive(image: Forged, folder: Path) -> Source:
    listed = [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l.tar"]}]
    files = {"c.json": image.config, "l.tar": image.blob, "manifest.json": json.dumps(listed).encode()}
    (folder / "x").write_bytes(tar(files))
    return DockerArchiveSource(str(folder / "x"))


def as_dir(image: Forged, folder: Path) -> Source:
    (folder / "d").mkdir()
    (folder / "d/manifest.json").write_bytes(image.manifest)
    for data in (image.blob, image.config):
        (folder / "d" / digest(data)[7:]).write_bytes(data)
    return DirSource(str(folder / "d"))


KINDS: dict[str, Callable[[Forged, Path], Source]] = {
    "oci": as_oci,
    "oci-archive": as_oci_archive,
    "docker-archive": as_docker_archive,
    "dir": as_dir,
}


def loaded(store: Store, source: Source) -> None:
    asyncio.run(load(source, "example.com/hostile:1", store, cancellation=Cancellation()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_a_hostile_layer_is_refused_whole(hostile: Hostile, kind: str, node: Node, tmp_path: Path) -> None:
    target, folder = tmp_path / "target", tmp_path / "image"
    for path in (target, folder):
        path.mkdir()
    (target / "kept").write_text("kept")
    store = Store(node, StoreSettings(layer_unpacked_limit=300 << 20, layer_entries_limit=1000))
    image = Forged(hostile.make(str(target)), packed=hostile.packed)
    with pytest.raises((Corrupt, LimitExceeded)):
        loaded(store, KINDS[kind](image, folder))
    assert [str(path.relative_to(target)) for path in target.rglob("*")] == ["kept"]
    assert (target / "kept").read_text() == "kept"
    assert not store.named("example.com/hostile:1")
    assert not os.listdir(f"{node.root}/tmp")
    assert store.check().clean
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_layer_is_loaded_by_the_same_way(kind: str, node: Node, tmp_path: Path) -> None:
    store = Store(node, StoreSettings())
    loaded(store, KINDS[kind](Forged(tar({"etc/motd": b"hello"}), packed=False), tmp_path))
    assert store.named("example.com/hostile:1")
    store.close()
