"""A disk that is full: pulls end with an error, removals work."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.errors import OrlopError
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.store.layers import image_of, put
from tests.support.images import tar

pytestmark = pytest.mark.host
NAME = "docker.io/library/ship:1"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB."""
    image, root = tmp_path / "disk", tmp_path / "root"
    with image.open("wb") as stream:
        stream.truncate(32 << 20)
    root.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    yield root
    subprocess.run(["umount", str(root)], check=True)


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
