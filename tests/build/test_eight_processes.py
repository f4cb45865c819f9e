"""Eight processes pull, build, remove, prune and check one store for a minute: nothing fails or is lost."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import time
import traceback
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from orlop.image.pull import pull
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.build.builds import Bench
from tests.support import images
from tests.support.node import temporary_node
from tests.support.registry import registry

pytestmark = [pytest.mark.host, pytest.mark.timeout(400)]

SECONDS = float(os.environ.get("ORLOP_EIGHT_PROCESSES", "60"))
_SPAWN = multiprocessing.get_context("spawn")
_IMAGES = 6
_KEPT = "docker.io/library/kept:1"


def image(number: int) -> images.Image:
    """Images that share their first layer, in two compressions."""
    base = images.Layer(images.tar({f"base/{name}": bytes(2000) for name in range(40)}), "gzip")
    own = {f"own/{name}": b"%d" % number * 500 for name in range(30)}
    compression = "zstd" if number % 2 else "gzip"
    return images.Image((base, images.Layer(images.tar(own), compression)), {"Cmd": ["sh"]})


class Turns:
    """What each process does until its time is over; the node, the registry, and its own number."""

    def __init__(self, node: Node, address: str, number: int, folder: str) -> None:
        self.node = node
        self.address = address
        self.number = number
        self.folder = Path(folder)
        self.store = Store(node)
        self.chance = random.Random(number)
        self.bench: Bench | None = None

    def pull(self) -> None:
        """Pull an image, give it a name of our own, look into it, and remove what is ours."""
        which = self.chance.randrange(_IMAGES)
        found = asyncio.run(pull(f"{self.address}/ship:{which}", self.store, tls_verify=False))
        name = f"docker.io/library/mine-{self.number}:{which}"
        try:
            self.store.tag(found.id, name)
        except Exception:
            # Between the pull and the name nobody held it: another process may have removed the image.
            assert not self.store.has_image(found.id)
            return
        root = Path(self.store.mount_image(name))
        assert (root / "own/29").read_bytes() == b"%d" % which * 500
        self.store.unmount_image(name)
        self.store.remove_image(name)

    def build(self) -> None:
        """Two stages with commands and copies, sometimes from the cache; the result is looked into."""
        bench = self.bench = self.bench or Bench(self.node, self.folder / f"context-{self.number}")
        turn = self.chance.randrange(4)
        bench.write({"text": f"{self.number} {turn}"})
        name = f"docker.io/library/built-{self.number}:{turn}"
        text = (
            "FROM busybox AS first\nCOPY text /text\nRUN tr 0-9 a-j </text >/made\n"
            "FROM scratch\nCOPY --from=first /made /made\nLABEL a=b\n"
        )
        bench.make(text, names=(name,))
        root = Path(self.store.mount_image(name))
        digits = f"{self.number} {turn}".translate(str.maketrans("0123456789", "abcdefghij"))
        assert (root / "made").read_text() == digits
        self.store.unmount_image(name)
        if turn % 2:
            self.store.remove_image(name)

    def remove(self) -> None:
        """Take the registry's names away from under those who pull."""
        for found in self.store.images():
            for name in found.names:
                if name.startswith(self.address):
                    try:
                        self.store.remove_image(name)
                    except Exception as error:
                        assert type(error).__name__ in ("ImageUnknown", "ImageInUse"), (
                            error
                        )  # another was first
        time.sleep(0.05)

    def prune(self) -> None:
        self.store.prune()
        self.store.collect()
        time.sleep(0.05)

    def check(self) -> None:
        report = self.store.check()
        assert report.problems == (), report
        assert Path(self.store.mount_image(_KEPT), "own/0").exists()


def take_turns(
    what: str,
    node: Node,
    address: str,
    number: int,
    folder: str,
    start: Barrier,
    told: multiprocessing.Queue[str],
) -> None:
    count = 0
    try:
        turns = Turns(node, address, number, folder)
        turn: Callable[[], None] = getattr(turns, what)
        start.wait(60)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            turn()
            count += 1
    except BaseException:
        told.put(f"{what} {number} after {count}: {traceback.format_exc()}")
        raise
    told.put(f"{what} {count}")


def test_eight_processes_share_a_store_for_a_minute(tmp_path: Path) -> None:
    work = ["pull", "pull", "build", "build", "build", "remove", "prune", "check"]
    with registry() as running, temporary_node() as node:
        for number in range(_IMAGES):
            images.push(running, f"ship:{number}", image(number))
        store = Store(node)
        found = asyncio.run(pull(f"{running.address}/ship:0", store, tls_verify=False))
        store.tag(found.id, _KEPT)
        start, told = _SPAWN.Barrier(len(work)), _SPAWN.Queue()
        children = [
            _SPAWN.Process(
                target=take_turns, args=(what, node, running.address, number, str(tmp_path), start, told)
            )
            for number, what in enumerate(work)
        ]
        for child in children:
            child.start()
        said = [told.get(timeout=SECONDS + 200) for _ in children]
        for child in children:
            child.join(60)
        errors = [line for line in said if "Traceback" in line]
        assert errors == [], "\n".join(errors)
        assert all(int(line.rpartition(" ")[2]) > 0 for line in said), said
        nothing_is_left(node, store)


def nothing_is_left(node: Node, store: Store) -> None:
    assert _KEPT in store.image(_KEPT).names
    store.unmount_image(_KEPT)
    assert store.check().problems == ()
    for found in store.images():
        store.remove_image(found.id, force=True, all_names=True)
    time.sleep(0.03)
    store.prune(all_images=True)
    assert store.images() == []
    assert store.rootfs_list() == []
    assert store.check().leftovers == 0
    for folder in ("layers", "tmp", "rootfs", "blobs/sha256"):
        assert os.listdir(f"{node.root}/{folder}") == [], folder
    assert os.listdir(f"{node.state}/locks/leases") == []
