from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.system.volumes.cleanup import cleanup, leftovers


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node's folders; what a failed test left mounted is taken away."""
    made = Node(str(tmp_path / "root"), str(tmp_path / "state"), str(tmp_path / "orlop.toml"))
    yield made
    for uid in leftovers(made):
        cleanup(made, uid)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
