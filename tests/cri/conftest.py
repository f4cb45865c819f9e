"""A node with a daemon that serves it, and a client of that daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orlop.kit.node import Node
from tests.support.cri import Client, Daemon, daemon
from tests.support.node import temporary_node


@pytest.fixture
def node() -> Iterator[Node]:
    with temporary_node() as made:
        yield made


@pytest.fixture
def serving(node: Node) -> Iterator[Daemon]:
    with daemon(node) as running:
        yield running


@pytest.fixture
def client(serving: Daemon) -> Iterator[Client]:
    with Client(serving.socket) as connected:
        yield connected
