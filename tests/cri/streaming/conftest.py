"""A container that runs, and a streaming server for it; one of each for a file's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.model import Container
from tests.cri.streaming.serving import Serving
from tests.cri.streaming.serving import serving as serving_
from tests.pod.make import sleeper, started
from tests.support.node import opened, temporary_node


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with temporary_node() as made:
        yield made


@pytest.fixture(scope="module")
def pods(node: Node) -> Iterator[Pods]:
    with opened(node) as made:
        yield made


@pytest.fixture(scope="module")
def container(pods: Pods) -> str:
    made: Container = started(pods, sleeper())
    return made.id


@pytest.fixture(scope="module")
def serving(pods: Pods) -> Iterator[Serving]:
    with serving_(pods, exec_grace=1.0, creation_timeout=2.0) as made:
        yield made
