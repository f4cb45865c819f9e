"""docker:// keeps the ports' contracts, with Debian's docker-registry on the other side."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.image.transport.locate import parse
from orlop.image.transport.open import OpenOptions, Transports
from tests.image.transport_suite import Place, TransportSuite
from tests.support.registry import Registry, registry

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def server() -> Iterator[Registry]:
    with registry() as running:
        yield running


class TestDocker(TransportSuite):
    @pytest.fixture
    def place(self, server: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        signatures = tmp_path / ".config/containers/registries.d"  # none of them in this machine's own folder
        signatures.mkdir(parents=True)
        (signatures / "own.yaml").write_text(f"default-docker:\n  lookaside: file://{tmp_path}/signatures\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        location = parse(f"docker://{server.address}/suite/{uuid.uuid4().hex}:v1")
        known = Transports()
        return Place(
            lambda: known.source(location, OpenOptions(tls_verify=False)),
            lambda: known.destination(location, OpenOptions(tls_verify=False)),
        )
