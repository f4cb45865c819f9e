"""A runtime with NRI on a node of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from tests.cri.nri.host import Runtime
from tests.cri.nri.host import runtime as running


@pytest.fixture
def runtime(node: Node, tmp_path: Path) -> Iterator[Runtime]:
    """Patient: a busy machine must not look like a slow plugin."""
    with running(node, tmp_path, plugin_request_timeout=30.0) as made:
        yield made


@pytest.fixture
def hasty(node: Node, tmp_path: Path) -> Iterator[Runtime]:
    """One for tests with a plugin that does not answer."""
    with running(node, tmp_path, plugin_request_timeout=1.5) as made:
        yield made
