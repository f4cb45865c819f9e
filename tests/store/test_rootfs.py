"""Container file systems and read-only roots of images."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.kit import kernel
from orlop.kit.errors import Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from orlop.kit.node import Node
from orlop.store import overlay
from orlop.store.model import StoreSettings
from orlop.store.store import Store
from tests.store.layers import image_of, put
from tests.support.images import Entry, folder, tar

pytestmark = pytest.mark.host


@pytest.fixture(params=["files", "erofs"])
def kept_as(request: pytest.FixtureRequest) -> str:
    return str(request.param)


NAME = "docker.io/library/ship:1"
LOWER = tar(
    [
        folder("etc"),
        Entry("etc/motd", b"old"),
        Entry("etc/gone", b"1"),
        Entry("var/log/a", b"1"),
        Entry("opt/x", b"1"),
    ]
)
UPPER = tar(
    [
        Entry("./", mode=0o711, uid=4, type=b"5"),
        Entry("etc/motd", b"new"),
        Entry("etc/.wh.gone"),
        Entry("var/log/.wh..wh..opq"),
        Entry("var/log/b", b"2"),
        Entry(".wh.opt"),
    ]
)


def tree(root: str) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in Path(root).rglob("*"))


SEEN = ["etc", "etc/motd", "var", "var/log", "var/log/b"]


def test_layers_are_seen_as_one(store: Store) -> None:
    image_id = put(store, image_of(LOWER, UPPER), NAME)
    store.create_rootfs("c1", image_id)
    root = store.mount_rootfs("c1")
    assert tree(root) == SEEN
    assert Path(root, "etc/motd").read_text() == "new"
    assert (stat.S_IMODE(os.stat(root).st_mode), os.stat(root).st_uid) == (0o711, 4)


def test_no_whiteout_is_ever_listed_as_a_name(store: Store) -> None:
    upper = [
        Entry("var/log/.wh..wh..opq"),
        Entry("var/log/.wh.a"),  # both ways at once
        Entry("var/log/b", b"2"),
        Entry("new/folder/.wh.nothing"),  # of what no layer below has
        folder("new/folder", 0o750),
        folder("etc"),
        Entry("etc/.wh.gone"),
        folder("etc", 0o700),
    ]
    image_id = put(store, image_of(LOWER, tar(upper)), NAME)
    store.create_rootfs("c1", image_id)
    for root in (Path(store.mount_rootfs("c1")), Path(store.mount_image(NAME))):
        assert os.listdir(root / "var/log") == ["b"]
        assert os.listdir(root / "new/folder") == []
        assert os.listdir(root / "etc") == ["motd"]
        assert stat.S_IMODE((root / "new/folder").stat().st_mode) == 0o750
    shutil.rmtree(Path(store.mount_rootfs("c1"), "new"))
    assert store.check().problems == ()


def test_what_a_container_writes_is_its_own(store: Store) -> None:
    image_id = put(store, image_of(LOWER), NAME)
    for name in ("c1", "c2"):
        store.create_rootfs(name, image_id)
    first, second = Path(store.mount_rootfs("c1")), Path(store.mount_rootfs("c2"))
    (first / "etc/motd").write_text("mine")
    (first / "etc/gone").unlink()
    assert (second / "etc/motd").read_text() == "old"
    assert (second / "etc/gone").read_text() == "1"
    assert store.rootfs_usage("c1")[1] == 3
    assert store.rootfs_usage("c2") == (0, 0)
    assert store.rootfs_list() == ["c1", "c2"]
    assert store.check().problems == ()


def test_everything_asked_twice_is_harmless(store: Store, node: Node) -> None:
    image_id = put(store, image_of(LOWER), NAME)
    for _ in range(2):
        store.create_rootfs("c1", image_id)
    assert store.mount_rootfs("c1") == store.mount_rootfs("c1")
    Path(store.mount_rootfs("c1"), "kept").write_text("x")
    for _ in range(2):
        store.unmount_rootfs("c1")
    assert not overlay.is_mounted(f"{node.state}/mounts/c1")
    assert Path(store.mount_rootfs("c1"), "kept").read_text() == "x"
    for _ in range(2):
        store.remove_rootfs("c1")
    assert os.listdir(f"{node.root}/rootfs") == []
    assert os.listdir(f"{node.state}/mounts") == []
    assert os.listdir(f"{node.root}/tmp") == []


def test_a_mount_that_a_reboot_took_is_made_again(store: Store) -> None:
    store.create_rootfs("c1", put(store, image_of(LOWER), NAME))
    root = store.mount_rootfs("c1")
    Path(root, "kept").write_text("x")
    kernel.umount(root)
    os.rmdir(root)
    assert Path(store.mount_rootfs("c1"), "kept").read_text() == "x"


def test_a_container_of_a_name_that_was_removed_starts_empty(store: Store, node: Node) -> None:
    image_id = put(store, image_of(LOWER), NAME)
    os.makedirs(f"{node.root}/rootfs/c1/upper/etc")  # a removal that was killed after its row was gone
    Path(node.root, "rootfs/c1/upper/etc/motd").write_text("another's")
    store.create_rootfs("c1", image_id)
    assert Path(store.mount_rootfs("c1"), "etc/motd").read_text() == "old"


def test_wrong_requests_are_refused(store: Store) -> None:
    image_id = put(store, image_of(LOWER), NAME)
    other = put(store, image_of(UPPER), "docker.io/library/boat:1")
    with pytest.raises(NotFound):
        store.create_rootfs("c1", "sha256:" + "0" * 64)
    with pytest.raises(NotFound):
        store.mount_rootfs("c1")
    with pytest.raises(NotFound):
        store.rootfs_usage("c1")
    for bad in ("", "..", "a/b", "a b", "ü"):
        with pytest.raises(InvalidInput):
            store.create_rootfs(bad, image_id)
    store.create_rootfs("c1", image_id)
    with pytest.raises(Conflict, match="another image"):
        store.create_rootfs("c1", other)


def test_a_busy_file_system_is_removed_all_the_same(store: Store, node: Node) -> None:
    store.create_rootfs("c1", put(store, image_of(LOWER), NAME))
    with open(Path(store.mount_rootfs("c1"), "etc/motd"), "rb") as held:
        store.remove_rootfs("c1")
        assert held.read() == b"old"
    assert os.listdir(f"{node.root}/rootfs") == []


def test_folders_nested_beyond_any_path_are_removed(store: Store, node: Node) -> None:
    store.create_rootfs("c1", put(store, image_of(LOWER), NAME))
    here = os.open(store.mount_rootfs("c1"), os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep-folder-of-a-container", dir_fd=here)
        below = os.open("deep-folder-of-a-container", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert store.rootfs_usage("c1")[1] > 50
    store.remove_rootfs("c1")
    assert os.listdir(f"{node.root}/rootfs") == []
    assert os.listdir(f"{node.root}/tmp") == []


@pytest.mark.parametrize("old_kernel", [False, True])
def test_a_hundred_and_fifty_layers_are_mounted(
    store: Store, monkeypatch: pytest.MonkeyPatch, old_kernel: bool
) -> None:
    if old_kernel:
        store.settings = StoreSettings(layers="files")  # such a kernel mounts no images
        monkeypatch.setattr(overlay, "_mount_new", _refused)
    layers = [tar({f"f{number}": b"%d" % number, "same": b"%d" % number}) for number in range(150)]
    store.create_rootfs("c1", put(store, image_of(*layers, layers[3]), NAME))
    root = Path(store.mount_rootfs("c1"))
    assert len(os.listdir(root)) == 151
    assert (root / "same").read_text() == "3"
    assert len(os.listdir(store.mount_image(NAME))) == 151


def test_too_many_layers_for_an_old_kernel_are_said_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(overlay, "_mount_new", _refused)
    with pytest.raises(LimitExceeded, match="layers"):
        overlay.mount_overlay(str(tmp_path), [f"{number}/diff" for number in range(500)], str(tmp_path))


def _refused(*_: object) -> None:
    raise OSError(22, "Invalid argument")


def test_long_paths_of_a_node_are_no_hindrance(tmp_path: Path) -> None:
    long = tmp_path / ("l" * 200) / ("m" * 200)
    store = Store(Node(str(long / "root"), str(long / "state")))
    store.create_rootfs("c1", put(store, image_of(LOWER, UPPER), NAME))
    try:
        assert tree(store.mount_rootfs("c1")) == SEEN
        assert tree(store.mount_image(NAME)) == SEEN
    finally:
        store.remove_rootfs("c1")
        store.unmount_image(NAME)
        store.unmount_layers()


@pytest.mark.parametrize(
    "layers", [(LOWER, UPPER), (LOWER,), (), (tar({"f": b""}),)], ids=["two", "one", "none", "file"]
)
def test_an_image_is_mounted_read_only(store: Store, node: Node, layers: tuple[bytes, ...]) -> None:
    put(store, image_of(*layers), NAME)
    root = store.mount_image("ship:1")
    assert store.mount_image(NAME) == root
    if len(layers) == 2:
        assert tree(root) == SEEN
    with pytest.raises(OSError, match="Read-only"):
        Path(root, "new").write_text("x")
    assert store.unmount_image("ship:1")
    assert not store.unmount_image("ship:1")
    assert not os.path.exists(root)
    assert os.listdir(f"{node.state}/images") == []


def test_a_root_stays_until_the_last_name_lets_go(store: Store) -> None:
    image_id = put(store, image_of(LOWER), NAME, "docker.io/library/boat:1")
    root = store.mount_image(NAME)
    store.mount_image("boat:1")
    assert store.unmount_image(NAME)
    assert overlay.is_mounted(root)
    store.untag("boat:1")
    with pytest.raises(Conflict, match="mounted"):
        store.remove_image(image_id)
    assert store.unmount_image(image_id)
    assert not overlay.is_mounted(root)


def test_a_mounted_image_is_removed_only_by_force(store: Store, node: Node) -> None:
    put(store, image_of(LOWER, UPPER), NAME)
    root = store.mount_image(NAME)
    with pytest.raises(Conflict, match="mounted at"):
        store.remove_image(NAME)
    assert store.prune(all_images=True).images == ()
    store.remove_image(NAME, force=True)
    assert not overlay.is_mounted(root)
    assert os.listdir(f"{node.root}/layers") == []


def test_an_opaque_root_hides_all_layers_below(store: Store) -> None:
    image_id = put(store, image_of(LOWER, tar({".wh..wh..opq": b"", "only": b"1"}), tar({"top": b"1"})), NAME)
    store.create_rootfs("c1", image_id)
    assert tree(store.mount_rootfs("c1")) == ["only", "top"]


def test_what_the_system_refuses_is_an_error_of_ours(store: Store, node: Node) -> None:
    image_id = put(store, image_of(LOWER), NAME)

    Path(node.root, "rootfs").write_text("in the way")
    with pytest.raises(Unavailable):
        store.create_rootfs("c1", image_id)
    shutil.rmtree(f"{node.root}/tmp")
    Path(node.root, "tmp").write_text("in the way")
    with pytest.raises(Unavailable):
        put(store, image_of(UPPER), NAME)


def test_opening_a_store_imports_nothing_heavy(node: Node) -> None:
    Store(node).close()
    code = (
        "import sys, orlop.store.rootfs; from orlop.kit.node import Node;"
        "from orlop.store.store import Store;"
        f"Store({node!r}).rootfs_list();"
        "heavy = {'asyncio', 'typing', 'dataclasses', 'hashlib', 'isal', 'zstandard', 'logging', 'shutil',"
        " 'pathlib', 're', 'json'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() in ("[]", "['re']"), done.stdout
