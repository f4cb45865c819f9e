"""A disk that is full: pulls end with an error, removals work."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.platform import Platform
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node
from orlop.store import overlay
from orlop.store.import_image import Import
from orlop.store.store import Store
from tests.cli.program import orlop
from tests.store.layers import image_of, put
from tests.support.images import tar

pytestmark = pytest.mark.host
NAME = "docker.io/library/ship:1"
OTHER = "localhost/imported:1"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    image, root = tmp_path / "disk", tmp_path / "root"
    with image.open("wb") as stream:
        stream.truncate(32 << 20)
    root.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    try:
        yield root
    finally:
        with open("/proc/self/mountinfo", encoding="utf-8") as stream:
            mounts = [line.split()[4] for line in stream]
        for mount in sorted((path for path in mounts if path.startswith(f"{tmp_path}/")), reverse=True):
            overlay.unmount(mount)


def test_a_full_disk_can_be_emptied(small: Path, tmp_path: Path) -> None:
    store = Store(Node(str(small), str(tmp_path / "state")))
    put(store, image_of(tar({"a": os.urandom(1 << 20)})), NAME)
    with (small / "fill").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while stream.write(bytes(4096)):
            pass
    with pytest.raises(OrlopError):
        put(store, image_of(tar({"b": os.urandom(1 << 20)})), "docker.io/library/boat:1")
    assert os.listdir(small / "tmp") == []
    assert store.check().problems == ()
    store.remove_image(NAME)
    assert store.images() == []
    assert os.listdir(small / "layers") == []
    store.close()


def fill(small: Path, *, leave: int) -> None:
    """Until so many bytes are free, about."""
    with (small / "fill").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while (room := os.statvfs(small)).f_bfree * room.f_frsize > leave:
            stream.write(bytes(4096))
        os.fsync(stream.fileno())


def is_clean(store: Store) -> None:
    assert os.listdir(store.layout.tmp) == []
    report = store.check()
    assert (report.problems, report.leftovers) == ((), 0)


@pytest.mark.parametrize("leave", [0, 300_000, 900_000, 1_700_000, 2_600_000, 3_500_000])
def test_blobs_and_imports_end_with_an_error_and_a_clean_store(
    small: Path, tmp_path: Path, leave: int
) -> None:
    """Wherever the disk ends: in the spool, the blob, the layer, the row."""
    store = Store(Node(str(small), str(tmp_path / "state")))
    put(store, image_of(tar({"a": os.urandom(1 << 20)}), compression="gzip"), NAME)
    before = [image.id for image in store.images()]
    fill(small, leave=leave)
    data = os.urandom(4 << 20)
    with pytest.raises(OrlopError) as caught:
        store.put_blob(Digest.of(data), len(data), io.BytesIO(data))
    assert "space" in caught.value.cause
    is_clean(store)
    archive = tmp_path / "archive"
    archive.write_bytes(tar({"b": os.urandom(4 << 20)}))
    wanted = Import((OTHER,), "2026-01-02T03:04:05Z", Platform.host(), {})
    with archive.open("rb", buffering=0) as stream, pytest.raises(OrlopError) as caught:
        store.import_image(stream.fileno(), wanted)
    assert caught.value.hint
    is_clean(store)
    with subprocess.Popen(["cat", str(archive)], stdout=subprocess.PIPE) as piped:
        assert piped.stdout is not None
        with pytest.raises(OrlopError):
            store.import_image(piped.stdout.fileno(), wanted)
        piped.stdout.close()
    is_clean(store)
    assert [image.id for image in store.images()] == before
    os.unlink(small / "fill")
    with archive.open("rb", buffering=0) as stream:
        store.import_image(stream.fileno(), wanted)
    store.put_blob(Digest.of(data), len(data), io.BytesIO(data))
    is_clean(store)
    store.close()


def test_an_export_to_a_full_disk_leaves_no_file(small: Path, tmp_path: Path) -> None:
    node = Node(str(tmp_path / "node"), str(tmp_path / "state"))
    store = Store(node)
    put(store, image_of(tar({"a": os.urandom(3 << 20)})), NAME)
    fill(small, leave=1 << 20)
    target = small / "out.tar"
    refused = orlop(
        *("--root", node.root, "--state", node.state, "image", "export", NAME, "-o", str(target)), code=6
    )
    assert "space" in refused.stderr
    assert sorted(os.listdir(small)) == ["fill", "lost+found"]
    assert os.listdir(store.layout.tmp) == []
    store.close()
