"""Every archive of the corpus is refused whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orlop.kit.errors import Corrupt, LimitExceeded
from orlop.kit.node import Node
from orlop.store.model import StoreSettings
from orlop.store.store import Store
from tests.store.corpus import CORPUS, Hostile
from tests.store.layers import put_tar
from tests.support.images import Entry, symlink, tar


@pytest.fixture(params=["files", "erofs"])
def kept_as(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def below(path: Path) -> list[str]:
    return sorted(str(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)


@pytest.mark.host
@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_a_hostile_archive_is_refused_whole(
    hostile: Hostile, node: Node, kept_as: str, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").write_text("kept")
    store = Store(
        node, StoreSettings(layer_unpacked_limit=300 << 20, layer_entries_limit=1000, layers=kept_as)
    )
    archive = hostile.make(str(target))
    with pytest.raises((Corrupt, LimitExceeded)) as caught:
        put_tar(store, b"" if hostile.packed else archive, blob=archive)
    assert caught.value.hint
    assert below(target) == [str(target / "kept")], "it wrote outside"
    assert (target / "kept").read_text() == "kept"
    assert sorted(os.listdir(target)) == ["kept"]
    assert not os.path.exists(f"{node.root}/layers") or not os.listdir(f"{node.root}/layers")
    assert not os.listdir(f"{node.root}/tmp")
    assert store.check().clean
    assert store.df().total == 0


@pytest.mark.host
def test_entries_beyond_their_bound_are_refused(node: Node) -> None:
    store = Store(node, StoreSettings(layer_entries_limit=10))
    with pytest.raises(LimitExceeded, match="10 entries"):
        put_tar(store, tar({f"f{number}": b"" for number in range(11)}))


@pytest.mark.host
def test_a_ratio_beyond_its_bound_is_refused(node: Node) -> None:
    store = Store(node, StoreSettings(layer_ratio_limit=2))
    bomb = next(hostile for hostile in CORPUS if hostile.name == "gzip bomb")
    with pytest.raises(LimitExceeded, match="times its size"):
        put_tar(store, b"", blob=bomb.make(""))


@pytest.mark.host
def test_a_link_out_is_kept_where_nothing_is_written_through_it(store: Store, diff: Path) -> None:
    put_tar(store, tar([symlink("etc/mtab", "/proc/mounts"), symlink("up", "../../..")]))
    assert os.readlink(diff / "etc/mtab") == "/proc/mounts"
    assert os.readlink(diff / "up") == "../../.."


@pytest.mark.host
def test_a_file_replaces_a_link_instead_of_following_it(store: Store, diff: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    put_tar(store, tar([symlink("x", str(outside)), Entry("x", b"new")]))
    assert outside.read_text() == "kept"
    assert (diff / "x").read_bytes() == b"new"


@pytest.mark.host
def test_times_of_a_folder_do_not_follow_the_link_that_replaced_it(
    store: Store, diff: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    before = (outside / "b").stat().st_mtime_ns
    put_tar(store, tar([Entry("a/b/c", b"1"), symlink("a", str(outside))]))
    assert (diff / "a").is_symlink()
    assert (outside / "b").stat().st_mtime_ns == before
