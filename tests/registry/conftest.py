"""One registry for all tests of a file; each test has repositories of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry.support import Client, Running, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as found:
        yield found


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    found = running.client()
    yield found
    found.close()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    words = request.node.name.partition("[")[0].lower().replace("__", "_").strip("_")
    return f"t/{words[:100].strip('_')}"
