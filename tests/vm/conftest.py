"""One guest for all tests of this folder, in the order of their files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.guest import Guest, guest
from tests.vm.test_guest import prepare


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    with guest(tmp_path_factory.mktemp("vm")) as running:
        prepare(running)
        yield running
