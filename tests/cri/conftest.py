"""A node with a daemon that serves it, and a client of that daemon; `shared` ones last for a whole module."""

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


@pytest.fixture(scope="module")
def shared_node() -> Iterator[Node]:
    with temporary_node() as made:
        yield made


@pytest.fixture(scope="module")
def shared(shared_node: Node) -> Iterator[Client]:
    """For tests that leave nothing which others would meet: each names its own pods."""
    with daemon(shared_node) as running, Client(running.socket) as connected:
        yield connected
