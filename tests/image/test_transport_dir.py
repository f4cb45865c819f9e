"""dir: signatures and what else lies in the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.transport.dir import DirDestination, DirSource
from orlop.kit import limits
from orlop.kit.errors import Conflict, Corrupt, InvalidInput, LimitExceeded, NotFound
from tests.image.transport_suite import Place, assert_holds, descriptor_of, put_blobs, raw_of, write
from tests.support.images import Image, Index, Layer, digest, tar


def image_of(content: bytes, **changes: object) -> Image:
    shared = Layer(tar({"shared": b"s" * 2000}))
    return Image((shared, Layer(tar({"file": content * 1000}))), {"Cmd": ["sh"]}, **changes)  # type: ignore[arg-type]


def place_of(folder: Path) -> Place:
    return Place(lambda: DirSource(str(folder)), lambda: DirDestination(str(folder)))


def signed(folder: Path, image: Image, *signatures: bytes) -> None:
    destination = DirDestination(str(folder))
    put_blobs(destination, image)
    destination.put_manifest(raw_of(image))
    destination.put_signatures(Digest(image.digest), signatures)
    destination.commit(Digest(image.digest))
    destination.close()


def test_the_files_are_skopeos(tmp_path: Path) -> None:
    image = image_of(b"a")
    signed(tmp_path / "d", image, b"one", b"two")
    names = {path.name for path in (tmp_path / "d").iterdir()}
    assert names == {
        "version",
        "manifest.json",
        "signature-1",
        "signature-2",
        *(digest(data)[7:] for data in image.blobs),
    }
    assert (tmp_path / "d/version").read_text() == "Directory Transport Version: 1.1\n"


def test_what_the_earlier_image_alone_had_goes_and_the_rest_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    first, second = image_of(b"a"), image_of(b"b")
    signed(folder, first, b"1", b"2", b"3")
    (folder / "notes.txt").write_text("mine")
    destination = DirDestination(str(folder))
    assert destination.has_blob(descriptor_of(first.layers[0].blob))
    destination.close()
    signed(folder, second, b"other")
    assert_holds(place_of(folder), second)
    assert DirSource(str(folder)).signatures(Digest(second.digest)) == (b"other",)
    names = {path.name for path in folder.iterdir()}
    assert digest(first.layers[1].blob)[7:] not in names
    assert {"signature-2", "signature-3"}.isdisjoint(names)
    assert "notes.txt" in names


def test_an_index_keeps_the_signatures_of_each_member(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    members = (image_of(b"a"), image_of(b"b", architecture="arm64"))
    index = Index(members)
    destination = DirDestination(str(folder))
    for member in members:
        put_blobs(destination, member)
        destination.put_manifest(raw_of(member))
        destination.put_signatures(Digest(member.digest), (member.architecture.encode(),))
    destination.put_manifest(raw_of(index))
    destination.put_signatures(Digest(index.digest), (b"all",))
    destination.commit(Digest(index.digest))
    destination.close()
    source = DirSource(str(folder))
    assert source.signatures(Digest(index.digest)) == (b"all",)
    for member in members:
        assert source.signatures(Digest(member.digest)) == (member.architecture.encode(),)
        assert (folder / f"{member.digest[7:]}.manifest.json").read_bytes() == member.manifest
        assert (folder / f"{member.digest[7:]}.signature-1").exists()
    write(place_of(folder), members[0])
    assert not list(folder.glob("*.manifest.json"))
    assert not list(folder.glob("*signature*"))


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(Conflict):
        DirDestination(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict):
        DirDestination(str(tmp_path / "file"))
    with pytest.raises(InvalidInput):
        DirSource(str(tmp_path), "reference")


def test_hostile_folders(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    image = image_of(b"a")
    signed(folder, image, b"one")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (folder / "signature-2").symlink_to(secret)
    with pytest.raises(Corrupt):
        DirSource(str(folder)).signatures(Digest(image.digest))
    (folder / "signature-2").unlink()
    with (folder / "signature-2").open("wb") as stream:
        stream.truncate(1 << 32)
    with pytest.raises(LimitExceeded):
        DirSource(str(folder)).signatures(Digest(image.digest))
    (folder / "signature-2").unlink()
    for number in range(2, limits.SIGNATURES + 3):
        (folder / f"signature-{number}").write_bytes(b"x")
    with pytest.raises(LimitExceeded):
        DirSource(str(folder)).signatures(Digest(image.digest))
    blob = folder / digest(image.blobs[1])[7:]
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(Corrupt):
        assert_holds(place_of(folder), image)
    (folder / "manifest.json").write_bytes(b"{}")
    with pytest.raises(Corrupt):
        DirSource(str(folder)).manifest()
    (folder / "version").write_bytes(b"Directory Transport Version: 9\n")
    with pytest.raises(Corrupt):
        DirSource(str(folder))
    with pytest.raises(NotFound):
        DirSource(str(tmp_path / "absent"))
