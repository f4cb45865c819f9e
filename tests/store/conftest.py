"""A store of its own for each test, unmounted afterwards also where the test failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.store import overlay
from orlop.store.store import Store


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(str(tmp_path / "root"), str(tmp_path / "state"))
    yield made
    for mount in (
        *(tmp_path / "state" / "mounts").glob("*"),
        *(tmp_path / "state" / "images").glob("*/root"),
    ):
        overlay.unmount(str(mount))


@pytest.fixture
def store(node: Node) -> Iterator[Store]:
    made = Store(node)
    yield made
    made.close()


@pytest.fixture
def diff(node: Node) -> Path:
    """Where the first layer of a store lands."""
    return Path(node.root) / "layers" / "1" / "diff"
