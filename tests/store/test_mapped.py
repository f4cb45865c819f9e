"""Roots and image volumes for user namespaces, at the store: owners, use, what stays of interrupted work."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit import kernel, user_namespace
from orlop.kit.errors import Conflict, Unsupported
from orlop.kit.node import Node
from orlop.store import overlay
from orlop.store.store import Store
from tests.store.layers import image_of, put
from tests.support.images import Entry, Image, folder, tar

pytestmark = pytest.mark.host


@pytest.fixture(params=["files", "erofs"])
def kept_as(request: pytest.FixtureRequest) -> str:
    return str(request.param)


BASE = 0x30000
EXTENTS = ((0, BASE, 65536),)


@pytest.fixture
def namespace(tmp_path: Path) -> Iterator[str]:
    """A pinned user namespace, on a way that everybody may pass."""
    place = tmp_path / "user"
    place.touch()
    for above in (tmp_path, *tmp_path.parents):
        if above.is_relative_to("/tmp/pytest-of-root"):
            above.chmod(stat.S_IMODE(above.stat().st_mode) | 0o011)
    with user_namespace.made(EXTENTS, EXTENTS, (), {}) as pid:
        kernel.mount(f"/proc/{pid}/ns/user", str(place), "", kernel.MS_BIND)
    yield str(place)
    overlay.unmount(str(place))


@pytest.fixture
def image() -> Image:
    lower = tar([folder("d", uid=0), Entry("d/root", b"1"), Entry("d/other", b"2", uid=7, gid=8)])
    return image_of(lower, tar([Entry("d/upper", b"3", uid=9)]))


def test_a_mapped_root_shows_the_images_owners_to_its_users(
    store: Store, node: Node, namespace: str, image: Image
) -> None:
    put(store, image, "one")
    store.create_rootfs("c", image.id)
    root = Path(store.mount_rootfs("c", namespace, (BASE, BASE)))
    owners = {path: (root / path).stat() for path in (".", "d/root", "d/other", "d/upper")}
    found = {path: (status.st_uid - BASE, status.st_gid - BASE) for path, status in owners.items()}
    assert found == {".": (0, 0), "d/root": (0, 0), "d/other": (7, 8), "d/upper": (9, 0)}
    assert str(root) == store.mount_rootfs("c", namespace, (BASE, BASE))
    assert not os.path.ismount(f"{node.state}/mapped/c/layers")
    store.remove_rootfs("c")
    assert os.listdir(f"{node.state}/mapped") == []


def test_an_image_without_layers_is_its_roots(store: Store, namespace: str) -> None:
    empty = Image((), {})
    put(store, empty, "empty")
    store.create_rootfs("c", empty.id)
    assert Path(store.mount_rootfs("c", namespace, (BASE, BASE))).stat().st_uid == BASE
    store.remove_rootfs("c")


def test_a_volume_is_read_only_and_the_image_in_use(
    store: Store, node: Node, namespace: str, image: Image
) -> None:
    put(store, image, "one")
    put(store, image_of(tar([Entry("f", b"x")])), "base")
    store.create_rootfs("c", store.image("base").id)
    for users, owner in (("", 0), (namespace, BASE)):
        root = Path(store.mount_volume("c", "one", users))
        assert (root / "d/root").stat().st_uid == owner
        flags = os.statvfs(root).f_flag
        assert flags & os.ST_RDONLY
        assert flags & os.ST_NOEXEC
        with pytest.raises(Conflict):
            store.remove_image("one", force=True)
        assert store.prune(all_images=True).images == ()
        store.remove_rootfs("c")
        store.create_rootfs("c", store.image("base").id)
    store.remove_rootfs("c")
    assert store.remove_image("one")
    assert not os.path.exists(f"{node.state}/volumes/c")


def test_what_a_lost_container_left_mounted_is_found_and_taken_away(
    store: Store, node: Node, namespace: str, image: Image
) -> None:
    put(store, image, "one")
    store.create_rootfs("c", image.id)
    store.mount_rootfs("c", namespace, (BASE, BASE))
    store.mount_volume("c", "one")
    with store._database.transaction() as rows:
        rows.execute("DELETE FROM rootfs")
        rows.execute("DELETE FROM volumes")
    store.check(repair=True)
    assert os.listdir(f"{node.state}/mapped") == os.listdir(f"{node.state}/volumes") == []
    assert node.state not in Path("/proc/self/mountinfo").read_text()


def test_a_way_that_nobody_may_pass_is_named(tmp_path: Path, namespace: str, image: Image) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    store = Store(Node(str(tmp_path / "r"), str(closed / "s")))
    put(store, image, "one")
    store.create_rootfs("c", image.id)
    with pytest.raises(Unsupported, match="closed") as failure:
        store.mount_rootfs("c", namespace, (BASE, BASE))
    assert "chmod o+x" in failure.value.hint
    store.remove_rootfs("c")
    store.unmount_layers()
    store.close()


def test_this_kernel_says_that_it_can() -> None:
    assert user_namespace.supported()
