"""A node with busybox in its store, and a context to build on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from tests.build.builds import Bench
from tests.support.node import temporary_node


@pytest.fixture
def node() -> Iterator[Node]:
    with temporary_node() as made:
        yield made


@pytest.fixture
def bench(node: Node, tmp_path: Path) -> Bench:
    return Bench(node, tmp_path / "context")
