"""Power cuts at random instants: what was acknowledged is there, whole; nothing else is in anybody's way."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from orlop.store.store import Store
from tests.store.layers import ensure, image_of, put
from tests.store.power import KINDS, Disk
from tests.support.images import Image, tar
from tests.support.records import record_of

pytestmark = [pytest.mark.host, pytest.mark.timeout(280)]

CUTS = int(os.environ.get("ORLOP_POWER_CUTS", "14"))
REPOSITORY = Path(__file__).parents[2]
_KEPT = 5  # images that the worker leaves in the store at a time


def image(turn: int) -> Image:
    """A base that all share, and two layers of this turn's own: small files, and one of some size."""
    own = {f"d{turn}/f{name}": b"%d" % (name * turn) * 300 for name in range(40)}
    layers = (tar({f"base/{name}": bytes(3000) for name in range(50)}), tar(own))
    return image_of(*layers, tar({"big": random.Random(turn).randbytes(400_000)}), compression="gzip")


def name_of(turn: int) -> str:
    return f"docker.io/library/ship:{turn}"


def worker(node: Node) -> None:
    """Pull, tag, run and remove for ever; `+N`: image N is acknowledged, `-N`: it may be gone."""
    store, turn = Store(node), 0
    while True:
        turn += 1
        made = image(turn)
        with store.lease():
            ensure(store, made)
            store.put_image(record_of(made, name_of(turn)))
        print(f"+{turn}", flush=True)
        store.create_rootfs(f"c{turn}", made.id)
        Path(store.mount_rootfs(f"c{turn}"), "mine").write_text("x")
        store.remove_rootfs(f"c{turn}")
        if turn > _KEPT:
            print(f"-{turn - _KEPT}", flush=True)
            store.remove_image(name_of(turn - _KEPT))
        if turn % 7 == 0:
            store.prune()


class Said:
    """What the worker has said so far, by a thread that reads along."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._lines: list[str] = []
        self._child = child
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.append(line.strip())

    def so_far(self) -> list[str]:
        return list(self._lines)


@contextlib.contextmanager
def working(node: Node) -> Iterator[Said]:
    child = subprocess.Popen(
        [sys.executable, "-c", f"from tests.store.test_power_cut import *; worker({node!r})"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = Said(child)
        deadline = time.monotonic() + 60
        while len(said.so_far()) < 2 * _KEPT:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield said
        assert child.poll() is None, "the worker met an error"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)


def numbers(lines: list[str], sign: str) -> set[int]:
    return {int(line[1:]) for line in lines if line.startswith(sign)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_after_a_cut_the_store_has_what_it_acknowledged(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    with (
        tempfile.TemporaryDirectory(prefix="on-", dir="/var/tmp") as folder,
        Disk(Path(folder), kind, tmp_path) as disk,
    ):
        node = Node(str(disk.path / "r"), str(tmp_path / "s"), str(tmp_path / "orlop.toml"))
        cuts = []
        with working(node) as said:
            for _ in range(CUTS):
                time.sleep(chance.uniform(0.05, 0.6))
                before = said.so_far()
                clone = disk.clone()
                time.sleep(0.05)  # for the reader: a `-` is said before the removal begins
                cuts.append((clone, numbers(before, "+") - numbers(said.so_far(), "-")))
        assert any(promised for _, promised in cuts)
        for number, (clone, promised) in enumerate(cuts):
            with disk.started(clone) as place:
                state = tmp_path / f"s{number}"  # a reboot empties it
                after = Node(str(place / "r"), str(state), str(tmp_path / "orlop.toml"))
                opens_with(after, promised)


def opens_with(node: Node, promised: set[int]) -> None:
    """The store has what was promised, is whole, and goes on."""
    store = Store(node)
    try:
        # What a container wrote and never synced is not promised, and `check` says that it is gone.
        broken = [found for found in store.check().problems if not found.object.startswith("file system of")]
        assert broken == []
        names = {name for found in store.images() for name in found.names}
        assert {name_of(turn) for turn in promised} <= names
        for turn in promised:
            root = Path(store.mount_image(name_of(turn)))
            assert (root / "big").read_bytes() == random.Random(turn).randbytes(400_000)
            assert (root / f"d{turn}/f39").read_bytes() == b"%d" % (39 * turn) * 300
            store.unmount_image(name_of(turn))
        put(store, image(10_000), name_of(10_000))
        store.check(repair=True)
        assert store.check().problems == ()
        for container in store.rootfs_list():
            store.remove_rootfs(container)
        for found in store.images():
            store.remove_image(found.id, force=True, all_names=True)
        store.prune(all_images=True)
        assert store.check().leftovers == 0
        for folder in ("layers", "tmp", "rootfs"):
            assert os.listdir(f"{node.root}/{folder}") == [], folder
    finally:
        store.close()
