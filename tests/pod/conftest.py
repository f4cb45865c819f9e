"""A node and an open `Pods` for the tests that need the real machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orlop.kit.node import Node
from orlop.pod.context import Pods
from tests.support.node import opened, temporary_node


@pytest.fixture
def node() -> Iterator[Node]:
    with temporary_node() as made:
        yield made


@pytest.fixture
def pods(node: Node) -> Iterator[Pods]:
    with opened(node) as made:
        yield made
