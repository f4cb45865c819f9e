"""What the store says of images: history, who stands on whom, what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.sink import ImageRecord
from orlop.kit.errors import NotFound
from orlop.store.diff import ADDED, CHANGED, DELETED, Difference
from orlop.store.store import Store
from tests.store.layers import ensure, image_of, put
from tests.support.images import Entry, Image, folder, symlink, tar
from tests.support.records import record_of

pytestmark = pytest.mark.host

ONE, TWO = "docker.io/library/one:1", "docker.io/library/two:1"


def with_history(image: Image, *steps: dict[str, object]) -> ImageRecord:
    """The image's record, its config saying these steps."""
    record = record_of(image, ONE)
    config = json.dumps({**json.loads(image.config_bytes), "history": list(steps)}).encode()
    document = json.loads(image.manifest)
    document["config"]["digest"], document["config"]["size"] = Digest.of(config), len(config)
    manifest = json.dumps(document).encode()
    digest = Digest.of(manifest)
    return ImageRecord(Digest.of(config), digest, manifest, config, record.layers, (ONE,), (digest,))


def put_with_history(store: Store, image: Image, *steps: dict[str, object]) -> None:
    with store.lease():
        ensure(store, image)
        store.put_image(with_history(image, *steps))


def test_history_gives_each_step_its_layer(store: Store) -> None:
    image = image_of(tar({"a": b"1" * 100}), tar({"b": b"2" * 50}))
    put_with_history(
        store,
        image,
        {"created": "2026-01-01T00:00:00Z", "created_by": "ADD a"},
        {"created_by": "ENV x=y", "empty_layer": True, "comment": "buildkit"},
        {"created_by": "COPY b", "author": "ada"},
    )
    first, empty, last = store.history(ONE)
    layers = store.image(ONE).layers
    assert (first.chain_id, first.created_by, first.size) == (layers[0], "ADD a", 100)
    assert (empty.chain_id, empty.size, empty.comment) == ("", 0, "buildkit")
    assert (last.chain_id, last.created_by, last.size, last.author) == (layers[1], "COPY b", 50, "ada")


@pytest.mark.parametrize(
    "steps", [(), ({"created_by": "one"},), ({}, {}, {}, {}), ({"created": 5, "comment": []},)]
)
def test_a_history_that_does_not_fit_is_told_as_far_as_it_goes(
    store: Store, steps: tuple[dict[str, object], ...]
) -> None:
    put_with_history(store, image_of(tar({"a": b"1"}), tar({"b": b"2"})), *steps)
    found = store.history(ONE)
    assert [step.chain_id for step in found if step.chain_id] == list(store.image(ONE).layers)


def test_images_stand_on_the_layers_that_they_share(store: Store) -> None:
    base, more = tar({"base": b"b" * 10}), tar({"more": b"m" * 20})
    put(store, image_of(base, more), ONE)
    put(store, image_of(base, more, tar({"top": b"t" * 30}), tar({"top2": b"t" * 40})), TWO)
    put(store, image_of(base, tar({"aside": b"a"})), "docker.io/library/aside:1")
    put(store, image_of(tar({"alone": b"x"})), "docker.io/library/alone:1")
    found = {tuple(branch.layers): branch for branch in store.branches()}
    assert len(found) == 2
    trunk = next(branch for branch in found.values() if len(branch.above) == 2)
    assert trunk.size == 10
    middle = next(branch for branch in trunk.above if branch.above)
    assert [names for _, names in middle.images] == [(ONE,)]
    (top,) = middle.above
    assert (len(top.layers), top.size, top.images[0][1]) == (2, 70, (TWO,))
    (only,) = store.branches(TWO)
    assert (only.size, only.images[0][1], [above.images[0][1] for above in only.above]) == (
        30,
        (ONE,),
        [(TWO,)],
    )
    with pytest.raises(NotFound):
        store.branches("nobody")


BEFORE = (
    Entry("same", b"same"),
    Entry("gone/deep/file", b"123"),
    Entry("content", b"aaa"),
    Entry("bigger", b"1"),
    Entry("kind", b"file"),
    symlink("link", "there"),
    Entry("mode", b"m"),
    Entry("owner", b"o"),
    Entry("time", b"t"),
    Entry("attributes", b"a"),
)
AFTER = (
    Entry("same", b"same"),
    Entry("content", b"bbb"),
    Entry("bigger", b"12345"),
    folder("kind"),
    Entry("kind/inside", b"i"),
    symlink("link", "elsewhere"),
    Entry("mode", b"m", mode=0o600),
    Entry("owner", b"o", uid=7),
    Entry("time", b"t", mtime=1),
    Entry("attributes", b"a", pax={"SCHILY.xattr.user.x": "y"}),
    Entry("new", b"n"),
)
WANTED = [
    Difference("/attributes", CHANGED, "file", 1, 1, ("attributes",)),
    Difference("/bigger", CHANGED, "file", 5, 1, ("content",)),
    Difference("/content", CHANGED, "file", 3, 3, ("content",)),
    Difference("/gone", DELETED, "folder", 0, 0),
    Difference("/gone/deep", DELETED, "folder", 0, 0),
    Difference("/gone/deep/file", DELETED, "file", 0, 3),
    Difference("/kind", CHANGED, "folder", 0, 4, ("kind",)),
    Difference("/kind/inside", ADDED, "file", 1, 0),
    Difference("/link", CHANGED, "link", 0, 0, ("target",)),
    Difference("/mode", CHANGED, "file", 1, 1, ("mode",)),
    Difference("/new", ADDED, "file", 1, 0),
    Difference("/owner", CHANGED, "file", 1, 1, ("owner",)),
    Difference("/time", CHANGED, "file", 1, 1, ("time",)),
]


def test_two_images_differ_in_what_differs(store: Store) -> None:
    put(store, image_of(tar(BEFORE)), ONE)
    put(store, image_of(tar(AFTER)), TWO)
    assert store.diff(ONE, TWO) == WANTED
    assert store.diff(ONE, ONE) == []
    undone = {found.path: found.change for found in store.diff(TWO, ONE)}
    assert (undone["/new"], undone["/gone/deep/file"], undone["/mode"]) == (DELETED, ADDED, CHANGED)


def test_an_image_alone_differs_by_its_last_layer(store: Store) -> None:
    upper = tar({".wh.gone": b"", "content": b"bbb", "new": b"n"})
    put(store, image_of(tar(BEFORE), upper), ONE)
    found = {one.path: one.change for one in store.diff(ONE)}
    assert found == {
        "/content": CHANGED,
        "/gone": DELETED,
        "/gone/deep": DELETED,
        "/gone/deep/file": DELETED,
        "/new": ADDED,
    }
    put(store, image_of(tar({"a/b": b"1"})), TWO)
    assert [one.path for one in store.diff(TWO)] == ["/a", "/a/b"]


def test_looking_leaves_nothing(store: Store, node: object) -> None:
    put(store, image_of(tar(BEFORE)), ONE)
    put(store, image_of(tar(AFTER)), TWO)
    store.diff(ONE, TWO)
    assert not list(Path(store.layout.tmp).iterdir())
    mounts = Path("/proc/self/mountinfo").read_text()
    assert f"{store.layout.root}/tmp" not in mounts


@pytest.mark.parametrize("running", [False, True])
def test_a_container_differs_by_what_it_wrote(store: Store, running: bool) -> None:
    image_id = put(store, image_of(tar(BEFORE)), ONE)
    store.create_rootfs("c1", image_id)
    root = Path(store.mount_rootfs("c1"))
    assert store.diff_rootfs("c1") == []
    (root / "new").write_text("n")
    (root / "gone" / "deep" / "file").unlink()
    (root / "mode").chmod(0o600)
    if not running:
        store.unmount_rootfs("c1")
    found = {one.path: one.change for one in store.diff_rootfs("c1")}
    assert found == {"/gone/deep/file": DELETED, "/mode": CHANGED, "/new": ADDED}
    store.remove_rootfs("c1")
    with pytest.raises(NotFound):
        store.diff_rootfs("c1")
