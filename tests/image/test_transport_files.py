"""oci:, oci-archive:, docker-archive: and dir: keep the ports' contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.image.transport.dir import DirDestination, DirSource
from orlop.image.transport.docker_archive import DockerArchiveDestination, DockerArchiveSource
from orlop.image.transport.oci import OciDestination, OciSource
from orlop.image.transport.oci_archive import OciArchiveDestination, OciArchiveSource
from tests.image.transport_suite import Place, TransportSuite


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class TestOci(TransportSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = str(tmp_path / "layout")
        return Place(
            lambda: OciSource(path, "v1"), lambda: OciDestination(path, "v1"), lambda: files_below(tmp_path)
        )


class TestOciWithoutAName(TransportSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = str(tmp_path / "layout")
        return Place(lambda: OciSource(path), lambda: OciDestination(path), lambda: files_below(tmp_path))


class TestOciArchive(TransportSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = str(tmp_path / "images.tar")
        return Place(
            lambda: OciArchiveSource(path, "v1"),
            lambda: OciArchiveDestination(path, "v1"),
            lambda: files_below(tmp_path),
        )


class TestDockerArchive(TransportSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = str(tmp_path / "images.tar")
        return Place(
            lambda: DockerArchiveSource(path, "example.com/ship:1"),
            lambda: DockerArchiveDestination(path, "example.com/ship:1"),
            lambda: files_below(tmp_path),
        )


class TestDir(TransportSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        path = str(tmp_path / "image")
        return Place(lambda: DirSource(path), lambda: DirDestination(path), lambda: files_below(tmp_path))
