"""Images, names, removal, room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.kit.errors import Conflict, InvalidInput, NotFound
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.store.layers import image_of, put
from tests.support.images import tar

pytestmark = pytest.mark.host

BASE = tar({"bin/sh": b"#" * 1000, "etc/motd": b"hello"})
TOP = tar({"app": b"1" * 500})
NAME = "docker.io/library/ship:1"


def layer_folders(node: Node) -> list[str]:
    return sorted(os.listdir(f"{node.root}/layers"))


def test_an_image_is_found_by_every_name_it_has(store: Store) -> None:
    image_id = put(store, image_of(BASE, TOP), NAME, "example.com:5000/crew/ship:1")
    found = store.image(NAME)
    assert found.id == image_id
    assert found.names == (NAME, "example.com:5000/crew/ship:1")
    assert found.size == 1505
    assert found.created == "2026-01-02T03:04:05Z"
    for name in (
        "ship:1",
        "library/ship:1",
        image_id,
        image_id[:14],
        image_id[7:],
        image_id[7:11],
        "crew/ship:1",
    ):
        assert store.image(name).id == image_id, name
    assert store.image(f"docker.io/library/ship@{found.digest}").id == image_id
    assert store.images() == [found]
    assert store.named(NAME) == (found.id, found.digest)
    assert store.image_config(image_id).cmd == ("sh",)
    assert Digest.of(store.manifest_bytes(image_id)) == found.digest


@pytest.mark.parametrize(
    "name", ["ship", "other:1", "sha256:" + "0" * 64, "0000", "ab", "", "A B", "x@y", "../.."]
)
def test_what_is_not_there_is_not_found(store: Store, name: str) -> None:
    put(store, image_of(BASE), NAME)
    with pytest.raises(NotFound):
        store.image(name)


def test_a_tag_is_added_moved_and_taken_away(store: Store) -> None:
    first, second = put(store, image_of(BASE), NAME), put(store, image_of(TOP), "localhost/top:latest")
    store.tag("ship:1", "boat")
    store.tag("ship:1", "boat")
    assert store.image("docker.io/library/boat:latest").id == first
    store.tag("top", "boat")
    assert store.image("boat").id == second
    store.untag("boat")
    with pytest.raises(NotFound):
        store.image("boat")
    assert store.image(NAME).id == first
    with pytest.raises(NotFound):
        store.tag("nothing", "boat")
    with pytest.raises(InvalidInput):
        store.tag("ship:1", "Not A Name")
    with pytest.raises(InvalidInput, match="digest"):  # it would lead to another image than it says
        store.tag("ship:1", "boat@sha256:" + "0" * 64)
    with pytest.raises(InvalidInput):
        store.untag(first)


def test_the_last_name_takes_the_image_and_its_layers_along(store: Store, node: Node) -> None:
    image_id = put(store, image_of(BASE, TOP), NAME, "docker.io/library/boat:1")
    assert store.remove_image("boat:1") == ["docker.io/library/boat:1"]
    assert len(layer_folders(node)) == 2
    assert store.remove_image("ship:1") == [NAME, image_id]
    assert layer_folders(node) == []
    assert store.images() == []
    with pytest.raises(NotFound):
        store.remove_image("ship:1")


def test_layers_that_another_image_has_stay(store: Store, node: Node) -> None:
    put(store, image_of(BASE, TOP), NAME)
    other = put(store, image_of(BASE), "docker.io/library/base:1")
    store.remove_image(NAME)
    assert layer_folders(node) == ["1"]
    assert store.image("base:1").id == other
    assert store.check().problems == ()


def test_an_image_in_use_is_not_removed_and_the_error_names_the_container(store: Store) -> None:
    image_id = put(store, image_of(BASE), NAME)
    store.create_rootfs("c1", image_id)
    for force in (False, True):
        with pytest.raises(Conflict, match="container c1"):
            store.remove_image(NAME, force=force)
    assert store.image(NAME).id == image_id
    assert store.prune(all_images=True).images == ()
    store.remove_rootfs("c1")
    assert store.remove_image(NAME) == [NAME, image_id]


def test_removal_by_id_takes_many_names_only_by_force(store: Store) -> None:
    image_id = put(store, image_of(BASE), NAME, "docker.io/library/boat:1")
    with pytest.raises(Conflict, match="2 names"):
        store.remove_image(image_id)
    assert store.remove_image(image_id[7:19], force=True) == ["docker.io/library/boat:1", NAME, image_id]


def test_an_image_goes_with_all_its_names_at_once_unless_it_is_mounted(store: Store) -> None:
    image_id = put(store, image_of(BASE), NAME, "docker.io/library/boat:1")
    store.mount_image(NAME)
    with pytest.raises(Conflict, match="mounted"):
        store.remove_image(image_id, all_names=True)
    assert store.image("boat:1").names == ("docker.io/library/boat:1", NAME)
    store.unmount_image(NAME)
    assert store.content() != (0, 0)
    assert store.remove_image("boat:1", all_names=True) == ["docker.io/library/boat:1", NAME, image_id]
    assert store.content() == (0, 0)


def test_equal_diffs_are_stored_once(store: Store, node: Node) -> None:
    put(store, image_of(BASE, TOP, BASE), NAME)
    put(store, image_of(TOP, BASE), "docker.io/library/boat:1")
    assert layer_folders(node) == ["1", "2"]


def test_a_name_that_moved_leaves_an_image_that_prune_takes(store: Store, node: Node) -> None:
    old = put(store, image_of(BASE, TOP), NAME)
    new = put(store, image_of(BASE), NAME)
    assert {image.id: image.names for image in store.images()} == {old: (), new: (NAME,)}
    pruned = store.prune()
    assert pruned.images == (old,)
    assert len(pruned.layers) == 1
    assert pruned.freed > 0
    assert layer_folders(node) == ["1"]
    assert store.prune(all_images=True).images == (new,)
    assert layer_folders(node) == []
    assert store.prune(all_images=True).images == ()


def test_room_is_told_apart_into_shared_and_unique(store: Store) -> None:
    first = put(store, image_of(BASE, TOP), NAME)
    put(store, image_of(BASE), "docker.io/library/base:1")
    store.create_rootfs("c1", first)
    Path(store.mount_rootfs("c1"), "new").write_bytes(b"x" * 100_000)
    usage = store.df()
    rows = {(row.kind, row.name or row.id): row for row in usage.rows}
    ship, base = rows["image", NAME], rows["image", "docker.io/library/base:1"]
    assert (ship.size, ship.shared, ship.unique, ship.in_use) == (1505, 1005, 500, True)
    assert (base.size, base.shared, base.unique, base.in_use) == (1005, 1005, 0, False)
    assert rows["rootfs", "c1"].size >= 100_000
    assert usage.total == 1505 + rows["rootfs", "c1"].size
    assert usage.reclaimable == 0
    assert sum(row.kind == "layer" for row in usage.rows) == 2
    store.remove_rootfs("c1")
    assert store.df().reclaimable == 1505
