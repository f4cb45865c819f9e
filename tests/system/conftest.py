"""What the tests of `system` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.playing import Playing, playing


@pytest.fixture
def played() -> Iterator[Playing]:
    """A node to play on, with a supervisor on demand."""
    with playing() as made:
        yield made
