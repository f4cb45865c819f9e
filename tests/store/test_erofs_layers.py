"""Layers that are kept as images: mounted when they are needed, once, taken away, checked, beside blobs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.sink import LayerRequest
from orlop.kit import kernel, limits
from orlop.kit.errors import Corrupt, InvalidInput, Unsupported
from orlop.kit.node import Node
from orlop.kit.progress import QuietMeter
from orlop.store import overlay
from orlop.store.erofs import mounts, support
from orlop.store.erofs.tar_within import TAR_OFFSET
from orlop.store.store import Store, StoreSettings
from tests.store.layers import ensure, image_of, opener, put
from tests.support.images import Entry, Image, Layer, folder, tar
from tests.support.records import requests_of

pytestmark = pytest.mark.host
TAR = tar([folder("etc"), Entry("etc/motd", b"hello" * 1000), Entry("big", os.urandom(300_000))])
IMAGE = image_of(TAR, tar({"top": b"1"}), compression="gzip")


@pytest.fixture
def kept_as() -> str:
    return "erofs"


def mounted(store: Store) -> list[str]:
    """The layers that are mounted, by number."""
    folder = store.layout.layer_mounts
    places = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    assert all(overlay.is_mounted(f"{folder}/{place}") for place in places)
    return [place.partition("-")[0] for place in places]


def test_a_layer_is_mounted_once_for_all_and_goes_when_it_is_removed(store: Store) -> None:
    image_id = put(store, IMAGE, "ship")
    assert mounted(store) == []
    for name in ("one", "two"):
        store.create_rootfs(name, image_id)
        assert (Path(store.mount_rootfs(name)) / "etc/motd").read_text() == "hello" * 1000
    assert mounted(store) == ["1", "2"]
    first = Path(store.mount_rootfs("one"))
    devices = {os.stat(f"{store.layout.layer_mounts}/{place}").st_dev for place in places(store)}
    assert len(devices) == 2
    for name in ("one", "two"):
        store.remove_rootfs(name)
    assert not first.exists()
    store.remove_image("ship")
    assert mounted(store) == []
    assert os.listdir(store.layout.layers) == []


def places(store: Store) -> list[str]:
    return os.listdir(store.layout.layer_mounts)


def test_unmounted_layers_are_mounted_again_and_containers_keep_what_they_have(store: Store) -> None:
    store.create_rootfs("one", put(store, IMAGE, "ship"))
    root = Path(store.mount_rootfs("one"))
    store.unmount_layers()
    store.unmount_layers()
    assert mounted(store) == []
    assert (root / "etc/motd").read_text() == "hello" * 1000  # overlayfs has its own hold
    store.create_rootfs("two", store.image("ship").id)
    assert (Path(store.mount_rootfs("two")) / "top").read_text() == "1"
    assert mounted(store) == ["1", "2"]
    flags = os.statvfs(f"{store.layout.layer_mounts}/{places(store)[0]}").f_flag
    assert flags & os.ST_RDONLY
    assert flags & os.ST_NOSUID


def test_after_a_reboot_everything_is_mounted_anew(store: Store, node: Node) -> None:
    store.create_rootfs("one", put(store, IMAGE, "ship"))
    Path(store.mount_rootfs("one"), "mine").write_text("kept")
    store.unmount_rootfs("one")
    store.unmount_layers()
    shutil.rmtree(node.state)
    assert (Path(store.mount_rootfs("one")) / "mine").read_text() == "kept"
    assert (Path(store.mount_rootfs("one")) / "top").read_text() == "1"


def test_a_place_that_a_crash_left_without_its_mount_is_used_again(store: Store) -> None:
    store.create_rootfs("one", put(store, IMAGE, "ship"))
    store.mount_rootfs("one")
    store.unmount_rootfs("one")
    for place in places(store):
        kernel.umount(f"{store.layout.layer_mounts}/{place}")
    assert (Path(store.mount_rootfs("one")) / "top").read_text() == "1"


def test_a_mount_of_another_store_that_stood_here_is_not_taken_for_ours(node: Node) -> None:
    for content in (b"first", b"second"):
        store = Store(node, StoreSettings(layers="erofs"))
        store.create_rootfs("c", put(store, image_of(tar({"who": content})), "ship"))
        assert (Path(store.mount_rootfs("c")) / "who").read_bytes() == content
        store.unmount_rootfs("c")
        store.close()
        shutil.rmtree(node.root)  # and the state folder stays


def test_mounts_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_MOUNTS", 3)
    roots = []
    for number in range(6):
        image_id = put(store, image_of(tar({f"f{number}": b"%d" % number})), f"ship:{number}")
        store.create_rootfs(f"c{number}", image_id)
        roots.append(Path(store.mount_rootfs(f"c{number}")))
        assert len(mounted(store)) <= 3
    assert [(root / f"f{number}").read_text() for number, root in enumerate(roots)] == list("012345")


def test_five_hundred_layers_are_stacked(store: Store) -> None:
    layers = [tar({f"f{number}": b"x", "same": b"%d" % number}) for number in range(limits.LAYERS_PER_IMAGE)]
    store.create_rootfs("c", put(store, image_of(*layers), "deep"))
    root = Path(store.mount_rootfs("c"))
    assert len(os.listdir(root)) == limits.LAYERS_PER_IMAGE + 1
    assert (root / "same").read_text() == str(limits.LAYERS_PER_IMAGE - 1)


def test_idle_layers_are_let_go_by_prune(store: Store) -> None:
    put(store, IMAGE, "ship")
    other = put(store, image_of(tar({"other": b"1"})), "other")
    store.create_rootfs("c", other)
    store.mount_rootfs("c")
    store.mount_image("ship")
    assert len(mounted(store)) == 3
    store.unmount_image("ship")
    store.prune()
    assert mounted(store) == ["3"]


def test_who_only_looks_leaves_no_mount(store: Store) -> None:
    put(store, IMAGE, "ship")
    store.mount_image("ship")
    store.mount_image("ship")
    assert mounted(store) == ["1", "2"]
    store.unmount_image("ship")
    assert mounted(store) == []
    with mounts.held(store.layout, [("1", "erofs")], passing=True) as (path,):
        assert os.listdir(Path(store.layout.layers, path)) == ["big", "etc"]
    assert mounted(store) == []


def test_who_removes_does_not_wait_for_who_reads(store: Store) -> None:
    """As a build does for as long as its RUN takes."""
    put(store, IMAGE, "ship")
    with mounts.held(store.layout, [("1", "erofs"), ("2", "erofs")]) as (first, _):
        below = Path(store.layout.layers, first)
        store.remove_image("ship")
        store.prune(all_images=True)
        assert os.listdir(store.layout.layers) == []
        assert (below / "etc/motd").read_text() == "hello" * 1000
    store.prune()
    assert mounted(store) == []


def _tar(image: Path) -> None:
    _flip(image, TAR_OFFSET + 700)


def _index(image: Path) -> None:
    _flip(image, image.stat().st_size - 4096)


def _superblock(image: Path) -> None:
    _flip(image, 1024 + 40)


def _header(image: Path) -> None:
    _flip(image, 20)


def _flip(image: Path, at: int) -> None:
    with open(image, "r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes((byte ^ 0xFF,)))


def _shorter(image: Path) -> None:
    os.truncate(image, image.stat().st_size - 512)


def _absent(image: Path) -> None:
    image.unlink()


@pytest.mark.parametrize("harm", [_tar, _index, _superblock, _header, _shorter, _absent])
def test_damage_is_named_and_repaired_by_the_next_pull(store: Store, harm: object) -> None:
    assert callable(harm)
    put(store, IMAGE, "ship")
    assert store.check().clean
    harm(Path(store.layout.image_file("1")))
    (problem,) = store.check().problems
    assert problem.object == f"layer {IMAGE.layers[0].diff_id}"
    assert store.check(repair=True).clean
    put(store, IMAGE, "ship")
    assert store.check().problems == ()
    assert (Path(store.mount_image("ship")) / "etc/motd").read_text() == "hello" * 1000


@pytest.mark.parametrize("harm", [_tar, _index, _absent])
def test_what_check_found_is_repaired_by_a_pull_alone_for_all_images_that_share_it(
    store: Store, harm: object
) -> None:
    assert callable(harm)
    image_id = put(store, IMAGE, "ship")
    store.tag(image_id, "localhost/built:latest")
    harm(Path(store.layout.image_file("1")))
    for _ in range(2):
        (problem,) = store.check().problems
        assert problem.object == f"layer {IMAGE.layers[0].diff_id}"
        assert not problem.repaired
    assert len(store.images()) == 1
    put(store, IMAGE, "ship")
    assert store.check().problems == ()
    assert (Path(store.mount_image("localhost/built:latest")) / "etc/motd").read_text() == "hello" * 1000
    assert read_blob(store) == IMAGE.layers[0].blob


def read_blob(store: Store) -> bytes:
    with store.open_blob(Digest(IMAGE.layers[0].digest)) as blob:
        buffer = bytearray(blob.size)
        return bytes(buffer[: blob.readinto(buffer)])


def test_damage_that_is_undone_is_no_damage(store: Store) -> None:
    put(store, IMAGE, "ship")
    path = Path(store.layout.image_file("1"))
    before = path.read_bytes()
    path.write_bytes(before[:-1000] + b"?" * 1000)
    assert len(store.check().problems) == 1
    assert not store.has_image(Digest(IMAGE.id))
    path.write_bytes(before)
    assert store.check().problems == ()
    assert store.has_image(Digest(IMAGE.id))


def test_a_container_above_an_image_that_is_gone_is_told_the_way_out(store: Store) -> None:
    store.create_rootfs("c", put(store, IMAGE, "ship"))
    os.unlink(store.layout.image_file("1"))
    with pytest.raises(Corrupt) as failure:
        store.mount_rootfs("c")
    assert "store check" in failure.value.hint


def test_an_image_that_is_none_is_not_mounted(store: Store) -> None:
    store.create_rootfs("c", put(store, IMAGE, "ship"))
    Path(store.layout.image_file("1")).write_bytes(b"rubbish" * 1000)
    with pytest.raises(Unsupported):
        store.mount_rootfs("c")


def test_a_store_with_both_forms_works(store: Store) -> None:
    lower = image_of(tar({"low": b"1"}))
    put(store, lower, "low")
    store.settings = StoreSettings(layers="files")
    both = Image((*lower.layers, Layer(tar({"high": b"2"}), "")), {})
    store.create_rootfs("c", put(store, both, "both"))
    root = Path(store.mount_rootfs("c"))
    assert ((root / "low").read_text(), (root / "high").read_text()) == ("1", "2")
    assert os.listdir(store.layout.layer("1")) == ["image"]
    assert sorted(os.listdir(store.layout.layer("2"))) == ["diff", "listing"]
    assert store.check().problems == ()
    store.unmount_rootfs("c")


# -- what the kernel can -------------------------------------------------------------------------------


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "memory"
    place.mkdir()
    kernel.mount("tmpfs", str(place), "tmpfs")
    yield place
    kernel.umount(str(place), kernel.MNT_DETACH)


def test_where_images_cannot_be_mounted_files_are_made(tmpfs: Path, tmp_path: Path) -> None:
    node = Node(str(tmpfs / "root"), str(tmp_path / "state"))
    store = Store(node)
    put(store, IMAGE, "ship")
    assert sorted(os.listdir(store.layout.layer("1"))) == ["diff", "listing"]
    store.settings = StoreSettings(layers="erofs")
    with pytest.raises(Unsupported) as failure:
        ensure(store, image_of(tar({"f": b"1"})))
    assert "auto" in failure.value.hint
    store.close()


def test_the_kernels_answer_is_remembered_for_this_boot(store: Store) -> None:
    os.makedirs(store.layout.state, exist_ok=True)
    assert support.mountable(store.layout)
    said = Path(store.layout.erofs_answer).read_text()
    Path(store.layout.erofs_answer).write_text(said.replace("yes", "no"))
    assert not support.mountable(store.layout)
    Path(store.layout.erofs_answer).write_text("another-boot 1 no")
    assert support.mountable(store.layout)
    assert os.listdir(store.layout.tmp) == []


def test_a_form_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="squashfs"):
        StoreSettings(layers="squashfs")


def test_a_file_that_no_file_system_image_is_is_refused_by_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(8192))
    (tmp_path / "at").mkdir()
    with pytest.raises(OSError, match="fsconfig"):
        mounts.mount_image(str(tmp_path / "x"), str(tmp_path / "at"))


# -- blobs beside layers -------------------------------------------------------------------------------


def blob(store: Store, digest: str) -> bytes:
    with store.open_blob(Digest(digest)) as opened:
        return os.pread(opened.fileno(), opened.size, opened.offset)


@pytest.mark.parametrize("form", ["files", "erofs"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
def test_what_was_pulled_can_be_read_as_it_came(store: Store, form: str, compression: str) -> None:
    store.settings = StoreSettings(layers=form)
    image = image_of(TAR, compression=compression)
    put(store, image, "ship")
    assert blob(store, image.layers[0].digest) == image.layers[0].blob
    kept = os.path.exists(store.layout.blob(image.layers[0].digest))
    assert kept == (form == "files" or compression != "")  # an image's own tar is not stored twice
    assert store.check().problems == ()
    store.remove_image("ship")
    assert store.blob_size(Digest(image.layers[0].digest)) is None


def test_no_blob_is_kept_where_none_is_wanted(store: Store) -> None:
    store.settings = StoreSettings(layers="erofs", keep_blobs=False)
    put(store, IMAGE, "ship")
    assert store.blob_size(Digest(IMAGE.layers[0].digest)) is None
    assert not os.path.exists(store.layout.blobs)


def test_a_known_layer_in_another_packing_is_fetched_without_unpacking(store: Store) -> None:
    put(store, IMAGE, "ship")
    other = image_of(TAR, compression="zstd")
    opened: list[bytes] = []
    assert ensure(store, other, opened) == [True]
    assert ensure(store, other, opened) == [False]
    assert len(opened) == 1
    assert blob(store, other.layers[0].digest) == other.layers[0].blob
    assert sorted(os.listdir(store.layout.layers)) == ["1", "2"]


def test_a_known_layers_tar_needs_no_fetching(store: Store) -> None:
    put(store, IMAGE, "ship")
    opened: list[bytes] = []
    assert ensure(store, image_of(TAR), opened) == [False]
    assert opened == []
    assert blob(store, IMAGE.layers[0].diff_id) == TAR


def test_a_blob_that_is_not_what_it_says_leaves_nothing(store: Store) -> None:
    wanted = requests_of(IMAGE)[0]
    wrong = Layer(tar({"else": b"1"}))
    with pytest.raises(Corrupt):
        store.ensure_layer(wanted, opener(wrong.blob), meter=QuietMeter(), tick=lambda: None)
    assert os.listdir(store.layout.tmp) == []
    assert not os.path.exists(store.layout.blobs)
    assert isinstance(wanted, LayerRequest)


def test_a_disk_that_is_full_while_the_blob_is_kept_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orlop.kit.errors import Unavailable
    from orlop.store.blobs.write import BlobWriter

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(BlobWriter, "write", full)
    with pytest.raises(Unavailable, match="No space left"):
        ensure(store, IMAGE)
    assert os.listdir(store.layout.tmp) == []
