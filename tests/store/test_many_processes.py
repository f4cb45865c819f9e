"""One store, many processes and threads."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.store.model import StoreSettings
from orlop.store.store import Store
from tests.store.layers import ensure, image_of, put
from tests.support.images import Image, tar
from tests.support.records import record_of

pytestmark = pytest.mark.host

NAME = "docker.io/library/ship:1"
_SPAWN = multiprocessing.get_context("spawn")


def _image() -> Image:
    return image_of(*(tar({f"f{number}": bytes(200_000)}) for number in range(3)), compression="gzip")


def _pull(node: Node, start: Barrier, log: str) -> None:
    store, image = Store(node), _image()
    start.wait(60)
    with store.lease():
        opened: list[bytes] = []
        ensure(store, image, opened)
        store.put_image(record_of(image, NAME))
    with open(log, "ab") as stream:
        stream.write(b"x" * len(opened))
    store.close()


def test_a_layer_is_fetched_once_by_five_processes(node: Node, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    start = _SPAWN.Barrier(5)
    children = [_SPAWN.Process(target=_pull, args=(node, start, str(log))) for _ in range(5)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert log.stat().st_size == 3
    store = Store(node)
    assert store.check().problems == ()
    assert sorted(os.listdir(f"{node.root}/layers")) == ["1", "2", "3"]


def test_many_threads_use_one_store(store: Store) -> None:
    image_id = put(store, _image(), NAME)

    def life(number: int) -> bytes:
        store.create_rootfs(f"c{number}", image_id)
        root = Path(store.mount_rootfs(f"c{number}"))
        (root / "mine").write_text(str(number))
        found = (root / "mine").read_bytes()
        store.remove_rootfs(f"c{number}")
        store.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(life, range(24))) == [b"%d" % number for number in range(24)]
    assert store.rootfs_list() == []


def test_prune_takes_nothing_from_a_pull_under_way(node: Node) -> None:
    store = Store(node, StoreSettings(prune_wait=5))
    image = _image()
    with store.lease():
        ensure(store, image)
        assert store.prune().layers == ()
        assert ensure(store, image) == [False, False, False]
        put(store, image_of(tar({"other": b""})), "docker.io/library/other:1")
        store.remove_image("other:1")  # at once, and no layer of the pull goes with it
        store.put_image(record_of(image, NAME))
    assert store.prune().images == ()
    assert store.check().problems == ()


def test_prune_takes_what_nobody_has_asked_for_since_the_oldest_work_began(store: Store) -> None:
    old, image = image_of(tar({"old": b"old"})), _image()
    ensure(store, old)
    with store.lease():
        ensure(store, image)
        assert len(store.prune().layers) == 1
        with store.lease():
            assert store.prune().layers == ()
        store.put_image(record_of(image, NAME))
    assert store.prune().layers == ()
    assert store.check().problems == ()


def test_an_image_in_use_by_somebody_at_work_stays(store: Store) -> None:
    image_id = put(store, _image(), NAME)
    store.untag(NAME)
    with store.lease():
        assert store.use(image_id)
        assert store.prune(all_images=True).images == ()
    assert store.prune().images == (image_id,)
    assert not store.use(image_id)


def test_a_layer_that_no_image_came_to_have_is_pruned(store: Store, node: Node) -> None:
    ensure(store, _image())
    assert len(store.prune().layers) == 3
    assert os.listdir(f"{node.root}/layers") == []


def test_work_of_the_living_is_not_swept(store: Store, node: Node) -> None:
    from orlop.store.workspace import work_folder

    begun, go_on = threading.Event(), threading.Event()

    def work() -> bool:
        with work_folder(f"{node.root}/tmp") as path:
            Path(path, "f").write_text("x")
            begun.set()
            assert go_on.wait(30)
            return os.path.exists(f"{path}/f")

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        assert begun.wait(30)
        assert store.prune().leftovers == 0
        go_on.set()
        assert working.result(30)
    assert os.listdir(f"{node.root}/tmp") == []
