"""containers-storage: images that podman, buildah and skopeo stored, and storages that lie."""

from __future__ import annotations

import base64
import fcntl
import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.image.manifest import Descriptor, Manifest, parse
from orlop.image.transport import tar_split
from orlop.image.transport.containers_storage import ContainersStorageSource
from orlop.image.transport.storage import conf
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, NotFound, OrlopError, Unsupported
from tests.image.peers import Peers, ours, peers, read
from tests.image.transport_suite import read_blob
from tests.support.images import (
    DOCKER,
    Entry,
    Image,
    Layer,
    busybox_layer,
    digest,
    folder,
    hard_link,
    symlink,
    tar,
    write_layout,
)

NAME = "example.com/ship:1"
LAYERS = (
    Layer(
        tar(
            [
                folder("etc"),
                folder("bin"),
                Entry("etc/motd", b"hello\n" * 1000, mode=0o640, uid=12, gid=34),
                Entry("etc/empty"),
                Entry("bin/tool", b"\0" * 100_000, mode=0o4755),
                hard_link("bin/same", "bin/tool"),
                symlink("through", "etc"),
                Entry("through/below", b"behind a link"),
                Entry("etc/null", type=tarfile.CHRTYPE, device=(1, 3)),
                Entry("etc/pipe", type=tarfile.FIFOTYPE),
                Entry("etc/" + "long" * 50, b"x", pax={"SCHILY.xattr.user.note": "one"}),
                Entry("etc/ümläut", "ü".encode()),
            ]
        )
    ),
    Layer(tar([folder("etc"), Entry("etc/.wh.motd"), Entry("etc/.wh..wh..opq"), Entry("new", b"n")]), "zstd"),
)


def ship(**changes: Any) -> Image:
    return Image(LAYERS, {"Cmd": ["sh"]}, **changes)


def unpacked_layers(source: ContainersStorageSource) -> list[bytes]:
    raw = source.manifest()
    parsed = parse(raw.data, raw.media_type)
    assert isinstance(parsed, Manifest)
    read_blob(source, parsed.config)
    return [read_blob(source, layer) for layer in parsed.layers]


@pytest.fixture
def tools() -> Iterator[Peers]:
    with peers() as found:
        yield found


@pytest.mark.host
class TestPeers:
    @pytest.fixture
    def stored(self, tools: Peers, tmp_path: Path) -> Peers:
        seed = f"oci:{write_layout(tmp_path / 'seed', {'v1': ship()})}:v1"
        tools.skopeo("copy", seed, f"containers-storage:[{tools.place}]{NAME}")
        return tools

    def test_layers_are_the_very_archives_that_they_were(self, stored: Peers) -> None:
        source = ContainersStorageSource(stored.place, NAME)
        assert unpacked_layers(source) == [layer.tar for layer in LAYERS]
        raw = source.manifest()
        parsed = parse(raw.data, raw.media_type)
        assert isinstance(parsed, Manifest)
        assert parsed.config.digest == ship().id
        assert [layer.digest for layer in parsed.layers] == [layer.diff_id for layer in LAYERS]
        assert source.current_digest() == raw.digest
        assert not source.referrers(raw.digest)
        assert not source.signatures(raw.digest)
        assert source.tagged("x") is None

    def test_every_way_to_name_an_image(self, stored: Peers) -> None:
        identifier = ship().id[7:]
        for name in (NAME, identifier, identifier[:8], f"@{identifier}", f"{NAME[:-2]}@{ship().digest}"):
            assert ContainersStorageSource(stored.place, name).manifest()
        stored.podman("tag", NAME, "localhost/mine:latest", "docker.io/library/short:2")
        for name in ("mine", "localhost/mine", "mine:latest", "short:2", "docker.io/library/short:2"):
            assert ContainersStorageSource(stored.place, name).manifest()
        for absent in ("ship", "example.com/ship:2", "0" * 64, f"example.com/other@{ship().digest}"):
            with pytest.raises(NotFound):
                ContainersStorageSource(stored.place, absent)
        with pytest.raises(InvalidInput):
            ContainersStorageSource(stored.place, "")

    def test_it_goes_everywhere(self, stored: Peers, tmp_path: Path) -> None:
        start = f"containers-storage:[{stored.place}]{NAME}"
        for end in (
            f"oci:{tmp_path}/l:v1",
            f"oci-archive:{tmp_path}/o.tar:v1",
            f"docker-archive:{tmp_path}/d.tar:{NAME}",
            f"dir:{tmp_path}/d",
        ):
            ours(start, end)
            assert read(end)[1:] == (ship().id, 2)
        assert stored.raw_digest(f"oci:{tmp_path}/l:v1") == read(f"oci:{tmp_path}/l:v1")[0]

    def test_images_of_dockers_format(self, tools: Peers, tmp_path: Path) -> None:
        image = Image((busybox_layer(),), {"Cmd": ["sh"]}, schema=DOCKER)
        ours(f"oci:{write_layout(tmp_path / 's', {'v1': image})}:v1", f"dir:{tmp_path}/dir")
        tools.skopeo("copy", f"dir:{tmp_path}/dir", f"containers-storage:[{tools.place}]{NAME}")
        assert unpacked_layers(ContainersStorageSource(tools.place, NAME)) == [busybox_layer().tar]

    def test_what_buildah_committed_keeps_its_digest(self, stored: Peers, tmp_path: Path) -> None:
        container = stored.buildah("from", "--pull-never", NAME).strip()
        (tmp_path / "file").write_text("from buildah")
        stored.buildah("copy", container, str(tmp_path / "file"), "/file")
        stored.buildah("commit", "-q", container, "localhost/built:1")
        source = ContainersStorageSource(stored.place, "built:1")
        assert len(unpacked_layers(source)) == 3
        listed = json.loads(stored.podman("image", "inspect", "localhost/built:1"))
        assert source.manifest().digest == listed[0]["Digest"]  # its layers were never packed

    def test_additional_stores_are_only_read(self, stored: Peers, tmp_path: Path) -> None:
        second = tmp_path / "second"
        (second / "overlay-images").mkdir(parents=True)
        (second / "overlay-layers").mkdir()
        place = f"overlay@{second}+{tmp_path}/run:overlay.imagestore={stored.storage}/root"
        assert unpacked_layers(ContainersStorageSource(place, NAME)) == [layer.tar for layer in LAYERS]

    def test_the_vfs_driver(self, tools: Peers, tmp_path: Path) -> None:
        seed = f"oci:{write_layout(tmp_path / 'seed', {'v1': ship()})}:v1"
        place = f"vfs@{tools.storage}/root+{tools.storage}/run"
        tools.skopeo("copy", seed, f"containers-storage:[{place}]{NAME}")
        assert unpacked_layers(ContainersStorageSource(place, NAME)) == [layer.tar for layer in LAYERS]

    def test_the_machines_own_storage_conf(
        self, stored: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "storage.conf"
        monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(path))
        root = f"{stored.storage}/root"
        path.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{root}"\n')
        assert conf.stores("") == (conf.Store("overlay", root),)
        assert unpacked_layers(ContainersStorageSource("", NAME)) == [layer.tar for layer in LAYERS]
        empty = tmp_path / "empty"
        (empty / "overlay-images").mkdir(parents=True)
        (empty / "overlay-layers").mkdir()
        path.write_text(
            f'[storage]\ngraphroot = "{empty}"\n[storage.options]\nadditionalimagestores = ["{root}"]\n'
        )
        assert ContainersStorageSource("", NAME).manifest()
        path.write_text("[storage")
        with pytest.raises(Corrupt):
            ContainersStorageSource("", NAME)

    def test_podmans_lock_is_waited_for(self, stored: Peers) -> None:
        """As podman holds it: a record lock of another process."""
        lock = f"{stored.storage}/root/overlay-images/images.lock"
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        found: list[object] = []
        thread = threading.Thread(
            target=lambda: found.append(ContainersStorageSource(stored.place, NAME).manifest())
        )
        thread.start()
        thread.join(0.5)
        assert thread.is_alive(), "it read under podman's lock"
        holder.stdin.close()
        assert holder.wait(20) == 0
        thread.join(20)
        assert found

    def test_we_hold_it_while_a_layer_is_read(self, stored: Peers) -> None:
        source = ContainersStorageSource(stored.place, NAME)
        raw = source.manifest()
        parsed = parse(raw.data, raw.media_type)
        assert isinstance(parsed, Manifest)
        lock = f"{stored.storage}/root/overlay-layers/layers.lock"
        with source.open_blob(parsed.layers[0], _Quiet()) as reader:
            reader.readinto(bytearray(10))
            assert not _can_write_lock(lock)
        assert _can_write_lock(lock)


_HOLDER = """
import fcntl, sys
stream = open(sys.argv[1], "r+b")
fcntl.lockf(stream, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class _Quiet:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def done(self) -> None:
        pass


def _can_write_lock(path: str) -> bool:
    wanted = struct.pack("hhqqi0q", fcntl.F_WRLCK, 0, 0, 0, 0)
    with open(path, "r+b") as stream:
        try:
            fcntl.fcntl(stream, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            return False
    return True


class Storage:
    """A storage that a test writes itself: one layer with the files `a` and `b`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layer = Layer(tar({"a": b"A" * 600, "b": b"B" * 600}), "")
        self.image = Image((self.layer,), {"Cmd": ["sh"]})
        self.id = self.image.id[7:]
        self.layer_id = "1" * 64
        self.diff = root / "overlay" / self.layer_id / "diff"
        for folder_ in (root / "overlay-images" / self.id, root / "overlay-layers", self.diff):
            folder_.mkdir(parents=True)
        (self.diff / "a").write_bytes(b"A" * 600)
        (self.diff / "b").write_bytes(b"B" * 600)
        self.put_data("manifest", self.image.manifest)
        self.put_data(self.image.id, self.image.config_bytes)
        self.put_images()
        self.put_layers()
        self.put_split(self.records())

    def put_data(self, key: str, data: bytes) -> None:
        plain = key == "manifest"
        name = key if plain else "=" + base64.b64encode(key.encode()).decode()
        (self.root / "overlay-images" / self.id / name).write_bytes(data)

    def put_images(self, **changes: Any) -> None:
        record = {"id": self.id, "digest": self.image.digest, "names": [NAME], "layer": self.layer_id}
        (self.root / "overlay-images/images.json").write_text(json.dumps([{**record, **changes}]))

    def put_layers(self, **changes: Any) -> None:
        record = {
            "id": self.layer_id,
            "diff-digest": self.layer.diff_id,
            "diff-size": len(self.layer.tar),
            "compression": 0,
        }
        (self.root / "overlay-layers/layers.json").write_text(json.dumps([{**record, **changes}]))

    def put_split(self, records: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(record) + "\n" for record in records)
        self.split.write_bytes(gzip.compress(text.encode()))

    @property
    def split(self) -> Path:
        return self.root / "overlay-layers" / f"{self.layer_id}.tar-split.gz"

    def records(self) -> list[dict[str, Any]]:
        """As tar-split takes the archive apart."""
        found: list[dict[str, Any]] = []
        data, at = self.layer.tar, 0
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                found.append({"type": 2, "payload": _text(data[at : member.offset_data])})
                found.append({"type": 1, "name": member.name, "size": member.size, "payload": "AAAAAAAAAAA="})
                at = member.offset_data + member.size
        return [*found, {"type": 2, "payload": _text(data[at:])}]

    def read(self) -> list[bytes]:
        return unpacked_layers(ContainersStorageSource(f"overlay@{self.root}", NAME))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


class TestHostile:
    def test_a_storage_without_lies_is_read(self, storage: Storage) -> None:
        assert storage.read() == [storage.layer.tar]
        assert ContainersStorageSource(f"[{storage.root}"[1:], NAME).manifest().digest == storage.image.digest

    def refused(self, storage: Storage, *kinds: type[OrlopError]) -> None:
        with pytest.raises(kinds or (Corrupt,)):
            storage.read()

    def test_a_file_that_changed(self, storage: Storage) -> None:
        for content in (b"X" * 600, b"A" * 599, b""):
            (storage.diff / "a").write_bytes(content)
            self.refused(storage)

    @pytest.mark.parametrize("kind", ["link", "device", "fifo", "folder", "absent", "host link"])
    def test_a_file_that_became_something_else(self, storage: Storage, tmp_path: Path, kind: str) -> None:
        path = storage.diff / "a"
        path.unlink()
        secret = tmp_path / "secret"
        secret.write_bytes(b"A" * 600)  # the right bytes, from where nobody may take them
        if kind == "link":
            path.symlink_to("b")
        elif kind == "host link":
            path.symlink_to(secret)
        elif kind == "device":
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        self.refused(storage)

    @pytest.mark.parametrize("way", ["../../../secret", "/../../secret", "out/secret", "proc/secret"])
    def test_names_that_lead_out(self, storage: Storage, tmp_path: Path, way: str) -> None:
        (tmp_path / "secret").write_bytes(b"A" * 600)
        (storage.diff / "out").symlink_to(tmp_path)
        (storage.diff / "proc").symlink_to("/proc/self/cwd")
        records = storage.records()
        records[1]["name"] = way
        storage.put_split(records)
        self.refused(storage)

    @pytest.mark.parametrize(
        "change",
        [
            {"size": -1},
            {"size": "600"},
            {"size": 1 << 62},
            {"size": 601},
            {"name": None},
            {"name": ""},
            {"name": "a\0b"},
            {"name": "x" * 10_000},
            {"name_raw": "!"},
            {"type": 3},
            {"type": None},
            {"type": 2, "payload": 7},
            {"type": 2, "payload": "!!"},
        ],
    )
    def test_records_that_are_none(self, storage: Storage, change: dict[str, Any]) -> None:
        records = storage.records()
        records[1].update(change)
        storage.put_split(records)
        self.refused(storage)

    @pytest.mark.parametrize("data", [b"", b"{", b"[]\n", b"x" * 100, b"[" * 200_000])
    def test_a_tar_split_that_is_none(self, storage: Storage, data: bytes) -> None:
        storage.split.write_bytes(gzip.compress(data))
        self.refused(storage)
        storage.split.write_bytes(data)
        self.refused(storage)

    def test_a_tar_split_without_end(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "TAR_SPLIT_LINE", 1 << 20)
        storage.split.write_bytes(gzip.compress(b'{"type":2,"payload":"' + b"A" * (4 << 20)))
        self.refused(storage, LimitExceeded)

    def test_a_tar_split_that_is_gone_or_a_link(self, storage: Storage, tmp_path: Path) -> None:
        storage.split.rename(tmp_path / "elsewhere")
        self.refused(storage, Unsupported)
        storage.split.symlink_to(tmp_path / "elsewhere")
        self.refused(storage)

    @pytest.mark.parametrize(
        "change",
        [
            {"id": "../../etc"},
            {"id": "2" * 64},
            {"parent": "3" * 64},
            {"parent": "1" * 64},
            {"diff-digest": digest(b"other")},
            {"diff-digest": "md5:0"},
            {"diff-size": 1},
        ],
    )
    def test_layers_that_do_not_belong(self, storage: Storage, change: dict[str, Any]) -> None:
        storage.put_layers(**change)
        self.refused(storage)

    def test_layers_that_cannot_be_put_together(self, storage: Storage) -> None:
        storage.put_layers(**{"diff-digest": "", "toc-digest": storage.layer.diff_id})
        self.refused(storage, Unsupported)

    @pytest.mark.parametrize(
        "change", [{"id": "../x"}, {"layer": "/etc"}, {"names": "x"}, {"layer": "4" * 64}]
    )
    def test_images_that_do_not_belong(self, storage: Storage, change: dict[str, Any]) -> None:
        storage.put_images(**change)
        self.refused(storage)

    def test_documents_that_are_not_what_was_recorded(self, storage: Storage) -> None:
        storage.put_data(storage.image.id, storage.image.config_bytes + b" ")
        self.refused(storage)
        storage.put_data(storage.image.id, storage.image.config_bytes)
        storage.put_images(**{"big-data-digests": {"manifest": digest(b"other")}})
        self.refused(storage)
        storage.put_images()
        storage.put_data("manifest", b"{}")
        self.refused(storage)

    def test_a_list_of_images(self, storage: Storage) -> None:
        from tests.support.images import Index

        storage.put_data("manifest", Index((storage.image,)).manifest)
        self.refused(storage, Unsupported)

    def test_records_without_end(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "STORAGE_RECORDS", 100)
        self.refused(storage, LimitExceeded)

    @pytest.mark.parametrize("place", ["overlay@relative", "@/x", "overlay@"])
    def test_places_that_are_none(self, place: str) -> None:
        with pytest.raises(InvalidInput):
            ContainersStorageSource(place, NAME)

    def test_places_without_a_storage(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            ContainersStorageSource(f"overlay@{tmp_path}", NAME)
        with pytest.raises(Unsupported):
            ContainersStorageSource(f"btrfs@{tmp_path}", NAME)

    def test_a_wrong_size_is_noticed(self, storage: Storage) -> None:
        source = ContainersStorageSource(f"overlay@{storage.root}", NAME)
        raw = source.manifest()
        parsed = parse(raw.data, raw.media_type)
        assert isinstance(parsed, Manifest)
        layer = parsed.layers[0]
        with pytest.raises(Corrupt):
            read_blob(source, Descriptor(layer.media_type, layer.digest, layer.size + 512))


def test_assembling_reads_no_more_than_it_gives(storage: Storage) -> None:
    """Large files come in pieces, small ones together."""
    ticks: list[int] = []
    tick: Callable[[], None] = lambda: ticks.append(1)  # noqa: E731
    split = os.open(storage.split, os.O_RDONLY)
    root = os.open(storage.diff, os.O_PATH)
    try:
        pieces = list(tar_split.assembled(split, root, "test", tick))
    finally:
        os.close(split)
        os.close(root)
    assert b"".join(pieces) == storage.layer.tar
    assert len(pieces) == 1
    assert len(ticks) == len(storage.records())
