"""The fake keeps the contract that it stands in for."""

from __future__ import annotations

import pytest

from orlop.image.fake_sink import FakeSink
from tests.image.sink_suite import SinkSuite


class TestFakeSink(SinkSuite):
    @pytest.fixture
    def sink(self) -> FakeSink:
        return FakeSink()
