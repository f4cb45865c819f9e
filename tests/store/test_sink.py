"""The store passes the suite of every Sink."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.store.store import Store
from tests.image.sink_suite import SinkSuite


@pytest.mark.host
class TestStoreAsSink(SinkSuite):
    @pytest.fixture
    def sink(self, tmp_path: Path) -> Store:
        return Store(Node(str(tmp_path / "root"), str(tmp_path / "state")))
