"""oci-archive: and docker-archive: compressed and piped, of every age, and hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from orlop.image.digest import Digest
from orlop.image.manifest import DOCKER_MANIFEST, Manifest, parse
from orlop.image.transport.docker_archive import DockerArchiveDestination, DockerArchiveSource
from orlop.image.transport.oci_archive import OciArchiveDestination, OciArchiveSource
from orlop.kit import limits
from orlop.kit.errors import Conflict, Corrupt, InvalidInput, LimitExceeded, NotFound, OrlopError, Unsupported
from tests.image.transport_suite import METER, Bytes, Place, descriptor_of, raw_of, read_blob, write
from tests.support.images import (
    DOCKER,
    Entry,
    Image,
    Index,
    Layer,
    digest,
    folder,
    hard_link,
    symlink,
    tar,
    write_layout,
)

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "gzip-members": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "bzip2-streams": lambda data: bz2.compress(data[:1000]) + bz2.compress(data[1000:]),
    "xz": lzma.compress,
}
LAYERS = (Layer(tar({"one": b"1" * 3000}), ""), Layer(tar({"two": b"2" * 3000}), ""))
IMAGE = Image(LAYERS, {"Cmd": ["sh"]})


def oci_tar(tmp_path: Path, image: Image = IMAGE) -> bytes:
    """A layout as `tar -c .` packs it: names begin with ./"""
    layout = write_layout(tmp_path / "packed", {"v1": image})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.add(layout, arcname=".")
    return stream.getvalue()


def docker_entries(images: dict[str, Image], *, form: str = "flat") -> list[Entry]:
    """What docker save wrote: "flat" (HEX.tar, as skopeo does) or "old" (ID/layer.tar, with links)."""
    entries: dict[str, Entry] = {}
    listed = []
    first: dict[str, str] = {}
    for name, image in images.items():
        config = f"{image.id[7:]}.json"
        entries[config] = Entry(config, image.config_bytes)
        layers = []
        for number, layer in enumerate(image.layers):
            if form == "flat":
                path = f"{layer.diff_id[7:]}.tar"
                entries[path] = Entry(path, layer.blob)
            else:
                path = f"{digest(f'{name}{number}'.encode())[7:]}/layer.tar"
                entries[os.path.dirname(path)] = folder(os.path.dirname(path))
                known = first.setdefault(layer.diff_id, path)
                entries[path] = Entry(path, layer.blob) if known == path else symlink(path, f"../{known}")
            layers.append(path)
        listed.append({"Config": config, "RepoTags": [name], "Layers": layers})
    entries["manifest.json"] = Entry("manifest.json", json.dumps(listed).encode())
    entries["repositories"] = Entry("repositories", b"{}")
    return list(entries.values())


def saved(path: Path, entries: list[Entry]) -> str:
    path.write_bytes(tar(entries))
    return str(path)


def assert_reads(source: DockerArchiveSource | OciArchiveSource, image: Image) -> None:
    """The image's config, and its layers unpacked or as they were."""
    raw = source.manifest()
    parsed = parse(raw.data, raw.media_type)
    assert isinstance(parsed, Manifest)
    assert read_blob(source, parsed.config) == image.config_bytes
    for blob, layer in zip(parsed.layers, image.layers, strict=True):
        assert read_blob(source, blob) in (layer.tar, layer.blob)
    source.close()


class TestPacked:
    @pytest.mark.parametrize("packer", PACKERS)
    def test_archives_are_unpacked_while_they_are_read(self, tmp_path: Path, packer: str) -> None:
        (tmp_path / "x").write_bytes(PACKERS[packer](oci_tar(tmp_path)))
        assert_reads(OciArchiveSource(str(tmp_path / "x"), "v1"), IMAGE)
        assert_reads(OciArchiveSource(str(tmp_path / "x")), IMAGE)
        (tmp_path / "y").write_bytes(PACKERS[packer](tar(docker_entries({"a:1": IMAGE}))))
        assert_reads(DockerArchiveSource(str(tmp_path / "y")), IMAGE)

    @pytest.mark.parametrize("packer", ["none", "gzip"])
    def test_archives_come_through_a_pipe(self, tmp_path: Path, packer: str) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        data = PACKERS[packer](oci_tar(tmp_path))
        writer = threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True)
        writer.start()
        assert_reads(OciArchiveSource(str(pipe), "v1"), IMAGE)
        writer.join(10)

    @pytest.mark.parametrize("packer", [name for name in PACKERS if name != "none"])
    def test_broken_packing_is_refused(self, tmp_path: Path, packer: str) -> None:
        data = PACKERS[packer](oci_tar(tmp_path))
        for broken in (data[:-20], data[: len(data) // 2], data[:40] + b"\xff" * 40 + data[80:]):
            (tmp_path / "x").write_bytes(broken)
            with pytest.raises(Corrupt):
                assert_reads(OciArchiveSource(str(tmp_path / "x"), "v1"), IMAGE)

    def test_a_bomb_is_refused_before_the_disk_is_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "FILE_UNPACKED", 10 * limits.MIB)
        (tmp_path / "x").write_bytes(gzip.compress(bytes(20 * limits.MIB)))
        with pytest.raises(LimitExceeded):
            OciArchiveSource(str(tmp_path / "x"))
        monkeypatch.undo()
        monkeypatch.setattr(limits, "RATIO_FLOOR", limits.MIB)
        monkeypatch.setattr(limits, "LAYER_RATIO", 100)
        with pytest.raises(LimitExceeded):
            OciArchiveSource(str(tmp_path / "x"))

    def test_nothing_is_left_in_the_temporary_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "t").mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
        (tmp_path / "x").write_bytes(gzip.compress(oci_tar(tmp_path)))
        source = OciArchiveSource(str(tmp_path / "x"))
        assert not any((tmp_path / "t").iterdir())
        assert_reads(source, IMAGE)


class TestDockerSave:
    @pytest.mark.parametrize("form", ["flat", "old"])
    def test_old_archives_with_several_images(self, tmp_path: Path, form: str) -> None:
        other = Image((LAYERS[0],), {"Cmd": ["other"]})
        path = saved(tmp_path / "x", docker_entries({"ship:1": IMAGE, "example.com/o:2": other}, form=form))
        for reference, image in {
            "ship:1": IMAGE,
            "docker.io/library/ship:1": IMAGE,
            "@0": IMAGE,
            "example.com/o:2": other,
            "@1": other,
        }.items():
            assert_reads(DockerArchiveSource(path, reference), image)
        assert DockerArchiveSource(path).tags() == ("ship:1", "example.com/o:2")
        with pytest.raises(InvalidInput) as caught:
            DockerArchiveSource(path).manifest()
        assert "ship:1" in caught.value.hint
        for absent in ("@2", "ship", "ship:2"):
            with pytest.raises(NotFound):
                DockerArchiveSource(path, absent).manifest()
        with pytest.raises(InvalidInput):
            DockerArchiveSource(path, "@x").manifest()

    @pytest.mark.parametrize("compression", ["gzip", "zstd"])
    def test_packed_layers_are_given_out_unpacked(self, tmp_path: Path, compression: str) -> None:
        image = Image(tuple(Layer(layer.tar, compression) for layer in LAYERS), {"Cmd": ["sh"]})
        source = DockerArchiveSource(saved(tmp_path / "x", docker_entries({"a:1": image})))
        raw = source.manifest()
        parsed = parse(raw.data, raw.media_type)
        assert isinstance(parsed, Manifest)
        assert (raw.media_type, parsed.config.digest) == (DOCKER_MANIFEST, image.id)
        assert [layer.digest for layer in parsed.layers] == [layer.diff_id for layer in image.layers]
        assert [read_blob(source, layer) for layer in parsed.layers] == [layer.tar for layer in image.layers]

    @pytest.mark.parametrize("compression", ["", "gzip"])
    def test_new_archives_keep_the_manifest(self, tmp_path: Path, compression: str) -> None:
        """Docker 25 and later: manifest.json beside an OCI layout, layers perhaps packed."""
        image = Image(tuple(Layer(layer.tar, compression) for layer in LAYERS), {"Cmd": ["sh"]})
        layout = write_layout(tmp_path / "l", {"1": image})
        listed = [
            {
                "Config": f"blobs/sha256/{image.id[7:]}",
                "RepoTags": ["a:1"],
                "Layers": [f"blobs/sha256/{layer.digest[7:]}" for layer in image.layers],
            }
        ]
        (layout / "manifest.json").write_text(json.dumps(listed))
        with tarfile.open(tmp_path / "x", "w") as archive:
            archive.add(layout, arcname=".")
        source = DockerArchiveSource(str(tmp_path / "x"), "a:1")
        assert source.manifest().digest == image.digest
        assert_reads(source, image)

    def test_a_layout_that_contradicts_is_not_believed(self, tmp_path: Path) -> None:
        forged = Image((LAYERS[1], LAYERS[0]), IMAGE.config)
        entries = docker_entries({"a:1": IMAGE})
        layout = write_layout(tmp_path / "l", {"1": forged})
        entries += [
            Entry(str(path.relative_to(layout)), path.read_bytes())
            for path in sorted(layout.rglob("*"))
            if path.is_file()
        ]
        assert_reads(DockerArchiveSource(saved(tmp_path / "x", entries)), IMAGE)

    def test_a_layer_that_is_not_what_the_config_says(self, tmp_path: Path) -> None:
        entries = docker_entries({"a:1": IMAGE})
        swapped = [
            Entry(entry.name, LAYERS[1].tar) if entry.name == f"{LAYERS[0].diff_id[7:]}.tar" else entry
            for entry in entries
        ]
        with pytest.raises(Corrupt):
            assert_reads(DockerArchiveSource(saved(tmp_path / "x", swapped)), IMAGE)

    @pytest.mark.parametrize(
        "listed",
        [
            [{"Config": "../../etc/passwd", "Layers": []}],
            [{"Config": "/etc/passwd", "Layers": []}],
            [{"Config": "", "Layers": []}],
            [{"Config": "absent", "Layers": []}],
            [{"Config": "config.json", "Layers": ["absent"]}],
            [{"Config": "config.json", "Layers": []}],
            [{"Config": 1}],
            {"Config": "config.json"},
            [1],
        ],
    )
    def test_a_list_that_leads_nowhere(self, tmp_path: Path, listed: object) -> None:
        entries = [
            Entry("config.json", IMAGE.config_bytes),
            Entry("manifest.json", json.dumps(listed).encode()),
        ]
        with pytest.raises((Corrupt, NotFound)):
            DockerArchiveSource(saved(tmp_path / "x", entries)).manifest()

    def test_what_is_no_docker_archive(self, tmp_path: Path) -> None:
        with pytest.raises(Unsupported):
            DockerArchiveSource(saved(tmp_path / "x", [Entry("repositories", b"{}")])).manifest()
        with pytest.raises(NotFound):
            DockerArchiveSource(saved(tmp_path / "x", [Entry("a", b"")])).manifest()
        with pytest.raises(NotFound):
            DockerArchiveSource(saved(tmp_path / "x", [Entry("manifest.json", b"[]")])).manifest()


class TestDockerWriting:
    def test_only_what_docker_loads_is_taken(self, tmp_path: Path) -> None:
        destination = DockerArchiveDestination(str(tmp_path / "x"), "a:1")
        packed = Image((Layer(LAYERS[0].tar, "gzip"),))
        with pytest.raises(Unsupported):
            destination.put_manifest(raw_of(packed))
        with pytest.raises(Unsupported):
            destination.put_manifest(raw_of(Index((IMAGE,))))
        destination.close()
        assert not any(tmp_path.iterdir())

    @pytest.mark.parametrize("reference", ["@0", "UPPER", "a:1@" + digest(b"")])
    def test_names_that_docker_refuses(self, tmp_path: Path, reference: str) -> None:
        with pytest.raises(InvalidInput):
            DockerArchiveDestination(str(tmp_path / "x"), reference)

    def test_docker_images_stay_docker_images(self, tmp_path: Path) -> None:
        image = Image(LAYERS, {"Cmd": ["sh"]}, schema=DOCKER)
        path = str(tmp_path / "x")
        write(Place(lambda: DockerArchiveSource(path), lambda: DockerArchiveDestination(path)), image)
        assert DockerArchiveSource(path).manifest().digest == image.digest

    def test_what_was_put_wrong_is_not_handed_on(self, tmp_path: Path) -> None:
        path = tmp_path / "x"
        destination = OciArchiveDestination(str(path), "v1")
        with pytest.raises(Corrupt):
            destination.put_blob(descriptor_of(b"honest" * 1000), Bytes(b"forged" * 1000), METER)
        for data in IMAGE.blobs:
            destination.put_blob(descriptor_of(data), Bytes(data), METER)
        destination.put_manifest(raw_of(IMAGE))
        destination.commit(Digest(IMAGE.digest))
        destination.close()
        assert b"forged" not in path.read_bytes()
        assert_reads(OciArchiveSource(str(path)), IMAGE)
        with tarfile.open(path) as archive:
            assert "index.json" in archive.getnames()

    def test_a_folder_is_not_replaced(self, tmp_path: Path) -> None:
        with pytest.raises(Conflict):
            OciArchiveDestination(str(tmp_path), "v1")
        with pytest.raises(NotFound):
            OciArchiveDestination(str(tmp_path / "absent" / "x"), "v1")


def with_entry(*entries: Entry) -> list[Entry]:
    return [*docker_entries({"a:1": IMAGE}), *entries]


HOSTILE: dict[str, list[Entry]] = {
    "absolute name": with_entry(Entry("/etc/passwd", b"x")),
    "climbing name": with_entry(Entry("a/../../b", b"x")),
    "climbing pax name": with_entry(Entry("x", b"x", pax={"path": "../b"})),
    "a name twice": with_entry(Entry("manifest.json", b"[]")),
    "a name twice in two spellings": with_entry(Entry("./manifest.json", b"[]")),
    "a link twice": with_entry(symlink("manifest.json", "repositories")),
    "a link out": with_entry(symlink("l", "../../etc/passwd")),
    "a link to the root": with_entry(symlink("l", "/etc/passwd")),
    "a hard link out": with_entry(hard_link("l", "../x")),
    "a device": with_entry(Entry("d", type=tarfile.CHRTYPE, device=(1, 3))),
    "a pipe": with_entry(Entry("d", type=tarfile.FIFOTYPE)),
    "a sparse file": with_entry(Entry("s", b"x", pax={"GNU.sparse.size": "9999999999"})),
}


class TestHostile:
    @pytest.mark.parametrize("kind", HOSTILE)
    @pytest.mark.parametrize("source", [DockerArchiveSource, OciArchiveSource])
    def test_archives_that_two_readers_could_read_in_two_ways(
        self, tmp_path: Path, kind: str, source: Callable[[str], Any]
    ) -> None:
        with pytest.raises(Corrupt):
            source(saved(tmp_path / "x", HOSTILE[kind])).manifest()

    def test_links_in_a_circle(self, tmp_path: Path) -> None:
        entries = [symlink("manifest.json", "b"), symlink("b", "manifest.json")]
        with pytest.raises(Corrupt):
            DockerArchiveSource(saved(tmp_path / "x", entries)).manifest()

    def test_a_member_that_is_longer_than_the_archive(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("manifest.json")
        info.size = 1 << 40
        (tmp_path / "x").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        with pytest.raises(Corrupt):
            DockerArchiveSource(str(tmp_path / "x")).manifest()

    def test_a_huge_document_within_a_hole(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("manifest.json")
        info.size = 1 << 33
        (tmp_path / "x").write_bytes(info.tobuf(tarfile.GNU_FORMAT))
        os.truncate(tmp_path / "x", info.size + 2048)
        with pytest.raises(LimitExceeded):
            DockerArchiveSource(str(tmp_path / "x")).manifest()

    def test_members_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "FILE_MEMBERS", 50)
        path = saved(tmp_path / "x", with_entry(*(Entry(f"f{n}") for n in range(60))))
        with pytest.raises(LimitExceeded):
            DockerArchiveSource(path).manifest()

    @pytest.mark.parametrize("size", [b"99999999999", b"-1         ", b"x          ", b"\xff" * 11])
    def test_headers_that_lie(self, tmp_path: Path, size: bytes) -> None:
        block = bytearray(tar([Entry("L", b"x" * 100, type=tarfile.GNUTYPE_LONGNAME)])[:512])
        block[124:135] = size
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        (tmp_path / "x").write_bytes(bytes(block) + bytes(4096))
        with pytest.raises((Corrupt, LimitExceeded)):
            DockerArchiveSource(str(tmp_path / "x")).manifest()

    @pytest.mark.parametrize("data", [b"", b"x" * 2000, bytes(10240), b"\x1f\x8b", gzip.compress(b"")])
    def test_what_is_no_archive(self, tmp_path: Path, data: bytes) -> None:
        (tmp_path / "x").write_bytes(data)
        with pytest.raises((Corrupt, NotFound)):
            OciArchiveSource(str(tmp_path / "x"))

    def test_every_broken_byte_is_noticed_or_harmless(self, tmp_path: Path) -> None:
        data = tar(docker_entries({"a:1": IMAGE}))
        for at in range(0, len(data), 97):
            broken = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
            (tmp_path / "x").write_bytes(broken)
            try:
                assert_reads(DockerArchiveSource(str(tmp_path / "x")), IMAGE)
            except OrlopError:
                pass
            except AssertionError:
                continue  # another config, say: an image of its own, without a name to check it by

    def test_folders_and_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(Corrupt):
            OciArchiveSource(str(tmp_path))
        with pytest.raises(NotFound):
            OciArchiveSource(str(tmp_path / "absent"))
