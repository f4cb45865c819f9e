"""kill -9 at many random moments of pulls, creations and removals: the store opens clean and goes on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orlop.kit import kernel
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.store.layers import ensure, image_of, put
from tests.support.images import Image, tar
from tests.support.records import record_of

pytestmark = [pytest.mark.host, pytest.mark.timeout(170)]

KILLS = 45
NAME = "docker.io/library/ship:1"
REPOSITORY = Path(__file__).parents[2]


def image() -> Image:
    layers = [
        tar({f"d{number}/f{name}": b"%d" % name * 2000 for name in range(60)} | {"big": bytes(1_000_000)})
        for number in range(3)
    ]
    return image_of(*layers, compression="gzip")


def victim(node: Node) -> None:
    """Pull, create, mount, write, remove, over and over; says each thing that was acknowledged."""
    store, made, turn = Store(node), image(), 0
    while True:
        turn += 1
        with store.lease():
            ensure(store, made)
            store.put_image(record_of(made, NAME))
        print("+image", flush=True)
        store.create_rootfs(f"c{turn}", made.id)
        print(f"+c{turn}", flush=True)
        Path(store.mount_rootfs(f"c{turn}"), "mine").write_text("x")
        print(f"-c{turn}", flush=True)  # from here on it may be gone
        store.remove_rootfs(f"c{turn}")
        print("-image", flush=True)
        store.remove_image(NAME)


def unmount_all(node: Node) -> None:
    for folder in ("mounts", "images"):
        path = f"{node.state}/{folder}"
        for name in os.listdir(path) if os.path.isdir(path) else ():
            with contextlib.suppress(OSError):
                kernel.umount(f"{path}/{name}", kernel.MNT_DETACH)


def killed(node: Node, after: float) -> list[str]:
    """What a victim had acknowledged when it was killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"from tests.store.test_killed import *; victim({node!r})"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = [child.stdout.readline()]  # it is under way: measure from here
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    said += child.stdout.read().split("\n")
    child.wait(30)
    return [line.strip() for line in said if line.strip()]


def test_a_kill_at_any_moment_leaves_a_store_that_opens_clean_and_goes_on(node: Node) -> None:
    chance = random.Random(3)
    for _ in range(KILLS):
        said = killed(node, chance.uniform(0, 0.25))
        store = Store(node)
        report = store.check()
        assert report.problems == (), report
        acknowledged = {line[1:] for line in said if line[0] == "+"} - {
            line[1:] for line in said if line[0] == "-"
        }
        kept = set(store.rootfs_list())
        assert acknowledged - {"image"} <= kept
        if said and said[-1] != "-image" and "+image" in said:
            assert [found.id for found in store.images()] == [image().id]
        for name in kept:  # what was not finished is finished by asking again
            assert (Path(store.mount_rootfs(name)) / "big").stat().st_size == 1_000_000
            store.remove_rootfs(name)
        store.close()
    store = Store(node)
    opened: list[bytes] = []
    before = store.df().total
    with store.lease():
        ensure(store, image(), opened)
    assert len(opened) <= 3
    if before:
        assert len(opened) < 3
    put(store, image(), NAME)
    store.check(repair=True)
    assert store.check().leftovers == 0
    assert store.remove_image(NAME)[-1] == image().id
    store.prune()
    for folder in ("layers", "tmp", "rootfs"):
        assert os.listdir(f"{node.root}/{folder}") == [], folder
    unmount_all(node)
