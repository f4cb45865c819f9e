"""`check` sees what went wrong on the disk, and `--repair` lets the next pull put it right."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.kit.errors import Corrupt
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.store.layers import ensure, image_of, put
from tests.support.images import Entry, hard_link, symlink, tar

pytestmark = pytest.mark.host


@pytest.fixture
def kept_as() -> str:
    return "files"


NAME = "docker.io/library/ship:1"
IMAGE = image_of(
    tar(
        [
            Entry("bin/sh", b"#!" * 5000, mode=0o4755, pax={"SCHILY.xattr.user.a": "b"}),
            hard_link("bin/ash", "bin/sh"),
            symlink("lib", "usr/lib"),
            Entry("etc/motd", b"hello", uid=5),
        ]
    ),
    tar({"top": b"1"}),
)


def _same_size(diff: Path) -> None:
    status = (diff / "etc/motd").stat()
    (diff / "etc/motd").write_bytes(b"HELLO")
    os.utime(diff / "etc/motd", ns=(status.st_mtime_ns, status.st_mtime_ns))


def _relinked(diff: Path) -> None:
    status = (diff / "lib").lstat()
    (diff / "lib").unlink()
    (diff / "lib").symlink_to("usr/bad")
    os.utime(diff / "lib", ns=(status.st_mtime_ns, status.st_mtime_ns), follow_symlinks=False)


def _folder_instead(diff: Path) -> None:
    (diff / "etc/motd").unlink()
    (diff / "etc/motd").mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "absent": lambda diff: (diff / "etc/motd").unlink(),
    "not from the image": lambda diff: (diff / "etc/new").write_text("x"),
    "bytes, not": lambda diff: (diff / "etc/motd").write_text("longer than before"),
    "another content": _same_size,
    "owner or mode": lambda diff: os.chmod(diff / "bin/sh", 0o755),
    "extended attributes": lambda diff: os.setxattr(diff / "bin/sh", "user.a", b"c"),
    "leads elsewhere": _relinked,
    "another kind": _folder_instead,
    "folder is absent": lambda diff: shutil.rmtree(diff),
    "listing": lambda diff: (diff.parent / "listing").write_bytes(b"rubbish"),
}


def test_a_store_that_is_well_is_said_to_be(store: Store) -> None:
    put(store, IMAGE, NAME)
    report = store.check()
    assert (report.problems, report.layers, report.images, report.clean) == ((), 2, 1, True)


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_repaired_by_the_next_pull(store: Store, diff: Path, what: str) -> None:
    image_id = put(store, IMAGE, NAME)
    DAMAGE[what](diff)
    report = store.check()
    assert not report.clean
    assert len(report.problems) == 1
    assert what in report.problems[0].cause
    assert report.problems[0].object == f"layer {IMAGE.layers[0].diff_id}"
    assert store.check(repair=True).clean
    assert store.check().problems == ()
    assert not store.has_image(Digest(image_id))
    with store.lease():
        assert ensure(store, IMAGE)[0]
    put(store, IMAGE, NAME)
    assert store.check().problems == ()


def test_a_broken_layer_below_a_container_is_replaced_by_the_next_pull(
    store: Store, node: Node, diff: Path
) -> None:
    image_id = put(store, IMAGE, NAME)
    store.create_rootfs("c1", image_id)
    Path(store.mount_rootfs("c1"), "mine").write_text("kept")
    store.unmount_rootfs("c1")
    (diff / "etc/motd").unlink()
    report = store.check(repair=True)
    assert report.clean
    assert "containers use it" in report.problems[0].cause
    assert not store.check().clean
    assert not store.has_image(Digest(image_id))
    put(store, IMAGE, NAME)
    assert store.check().problems == ()
    root = Path(store.mount_rootfs("c1"))
    assert (root / "etc/motd").read_text() == "hello"
    assert (root / "mine").read_text() == "kept"
    store.prune()
    assert sorted(os.listdir(f"{node.root}/layers")) == ["2", "3"]


def test_leftovers_are_counted_and_taken_away(store: Store, node: Node) -> None:
    put(store, IMAGE, NAME)
    for folder in ("layers/99/diff/etc", "rootfs/gone/upper", "tmp/dead/layer"):
        os.makedirs(f"{node.root}/{folder}")
    os.makedirs(f"{node.state}/mounts/gone")
    time.sleep(0.03)  # nobody who works now can have put them there
    report = store.check()
    assert report.clean
    assert report.leftovers == 4
    assert store.check(repair=True).leftovers == 0
    assert os.listdir(f"{node.root}/tmp") == os.listdir(f"{node.root}/rootfs") == []
    assert sorted(os.listdir(f"{node.root}/layers")) == ["1", "2"]
    assert store.check().leftovers == 0


def test_a_manifest_that_was_changed_is_found(store: Store, node: Node) -> None:
    put(store, IMAGE, NAME)
    with sqlite3.connect(f"{node.root}/store.db") as rows:
        rows.execute("UPDATE images SET config = ?", (b"{}",))
    assert "config" in store.check().problems[0].cause
    assert store.check(repair=True).clean
    assert store.images() == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM layers",
        "DELETE FROM diffs",
        "DELETE FROM image_layers WHERE position = 1",
        "UPDATE images SET manifest = 'text'",
        "UPDATE images SET digest = 'none'",
    ],
)
def test_a_record_that_was_damaged_is_found_and_mended_by_the_next_pull(
    store: Store, node: Node, damage: str
) -> None:
    put(store, IMAGE, NAME)
    with sqlite3.connect(f"{node.root}/store.db") as rows:
        rows.execute(damage)
    assert [problem.object for problem in store.check().problems] == [f"image {IMAGE.id}"]
    assert store.check(repair=True).clean
    put(store, IMAGE, NAME)
    assert store.check().problems == ()
    assert os.listdir(store.mount_image(NAME))


def test_who_mounts_what_lost_its_folder_is_told_the_way_out(store: Store, diff: Path) -> None:
    image_id = put(store, IMAGE, NAME)
    store.create_rootfs("c1", image_id)
    shutil.rmtree(diff.parent)
    shutil.rmtree(diff.parent.with_name("2"))
    for mount, name in ((store.mount_image, NAME), (store.mount_rootfs, "c1")):
        with pytest.raises(Corrupt) as caught:
            mount(name)
        assert "store check --repair" in caught.value.hint


def test_a_containers_lost_folder_is_found(store: Store, node: Node) -> None:
    store.create_rootfs("c1", put(store, IMAGE, NAME))
    shutil.rmtree(f"{node.root}/rootfs/c1")
    assert "container c1" in store.check().problems[0].object
    assert store.check(repair=True).clean
    assert store.check().problems == ()
    assert (Path(store.mount_rootfs("c1")) / "top").exists()
