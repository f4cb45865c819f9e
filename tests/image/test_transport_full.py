"""A full disk: a clear error, the earlier image as it was, nothing left behind; then it works again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.image.transport.destination import Destination
from orlop.image.transport.dir import DirDestination, DirSource
from orlop.image.transport.docker_archive import DockerArchiveDestination, DockerArchiveSource
from orlop.image.transport.oci import OciDestination, OciSource
from orlop.image.transport.oci_archive import OciArchiveDestination, OciArchiveSource
from orlop.image.transport.source import Source
from orlop.kit import kernel
from orlop.kit.errors import Unavailable
from tests.image.transport_suite import Place, assert_holds, write
from tests.support.images import Image, Layer, tar

pytestmark = pytest.mark.host

_KINDS: dict[str, tuple[Callable[[str], Source], Callable[[str], Destination]]] = {
    "oci": (lambda path: OciSource(path, "v1"), lambda path: OciDestination(path, "v1")),
    "oci-archive": (
        lambda path: OciArchiveSource(path, "v1"),
        lambda path: OciArchiveDestination(path, "v1"),
    ),
    "docker-archive": (
        lambda path: DockerArchiveSource(path, "a:1"),
        lambda path: DockerArchiveDestination(path, "a:1"),
    ),
    "dir": (DirSource, DirDestination),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    kernel.mount("none", str(folder), "tmpfs", data="size=2m")
    try:
        yield folder
    finally:
        kernel.umount(str(folder), kernel.MNT_DETACH)


def image_of(size: int) -> Image:
    return Image((Layer(tar({"small": b"s" * 100}), ""), Layer(tar({"large": b"l" * size}), "")))


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("spare", [0, 4096, 300_000])
def test_a_full_disk_leaves_the_earlier_image(disk: Path, kind: str, spare: int) -> None:
    source, destination = _KINDS[kind]
    place = Place(lambda: source(str(disk / "x")), lambda: destination(str(disk / "x")))
    first = image_of(400_000)
    write(place, first)
    ballast = disk / "ballast"
    _fill(ballast, spare)
    before = sorted(str(path) for path in disk.rglob("*"))
    with pytest.raises(Unavailable) as caught:
        write(place, image_of(700_000))
    assert "make room" in caught.value.hint
    assert sorted(str(path) for path in disk.rglob("*")) == before
    assert_holds(place, first)
    ballast.unlink()
    write(place, image_of(700_000))
    assert_holds(place, image_of(700_000))


def _fill(path: Path, spare: int) -> None:
    """A file as large as there is room, then smaller by `spare` bytes."""
    written = 0
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                written += stream.write(bytes(4096))
        except OSError:
            stream.truncate(max(0, written - spare))
