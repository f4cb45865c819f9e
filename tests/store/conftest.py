"""A store of its own for each test, unmounted afterwards also where the test failed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.store import overlay
from orlop.store.model import StoreSettings
from orlop.store.store import Store
from tests.store.layers import view_of


@pytest.fixture
def kept_as() -> str:
    """[store] layers. Modules whose tests hold for every form of layers have a fixture with parameters."""
    return "auto"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(str(tmp_path / "root"), str(tmp_path / "state"))
    yield made
    for mount in (
        *(tmp_path / "state" / "mounts").glob("*"),
        *(tmp_path / "state" / "images").glob("*/root"),
        *(tmp_path / "state" / "layers").glob("*"),
        *(tmp_path / "root").glob("view"),
    ):
        overlay.unmount(str(mount))


@pytest.fixture
def store(node: Node, kept_as: str) -> Iterator[Store]:
    made = Store(node, StoreSettings(layers=kept_as))
    yield made
    made.close()


@pytest.fixture
def diff(node: Node, kept_as: str) -> Path:
    """Where the first layer of a store is seen, once `put_tar` has put it there."""
    return Path(node.root) / "layers" / "1" / "diff" if kept_as == "files" else Path(view_of(node.root))
