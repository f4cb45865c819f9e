"""kill -9 at many random moments of blobs that come and go, of imports and exports."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.image.platform import Platform
from orlop.kit import kernel
from orlop.kit.node import Node
from orlop.store.import_image import Import
from orlop.store.store import Store
from tests.store.layers import image_of, put
from tests.support.images import tar

pytestmark = [pytest.mark.host, pytest.mark.timeout(170)]

KILLS = 25
NAMES = ("localhost/zero:1", "localhost/one:1", "localhost/two:1")
KEPT = "docker.io/library/kept:1"
REPOSITORY = Path(__file__).parents[2]


def victim(node: Node, seed: int) -> None:
    """Puts and adopts blobs, imports, exports, removes and prunes; says what was acknowledged."""
    store, chance, turn = Store(node), random.Random(seed), 0
    while True:
        turn += 1
        name = NAMES[turn % len(NAMES)]
        archive = tar({f"d/f{number}": chance.randbytes(3000) for number in range(40)})
        path = Path(node.root) / f"archive-{turn % 2}"
        path.write_bytes(archive)
        wanted = Import((name,), "2026-01-02T03:04:05Z", Platform.host(), {"Cmd": [str(turn)]})
        print(f"-{name}", flush=True)
        with path.open("rb", buffering=0) as stream:
            done = store.import_image(stream.fileno(), wanted)
        print(f"+{name} {done.id}", flush=True)
        with store.lease():
            data = chance.randbytes(200_000)
            digest = Digest.of(data)
            if turn % 2:
                store.put_blob(digest, len(data), io.BytesIO(data))
            else:
                path = Path(node.root) / "finished"
                path.write_bytes(data)
                store.adopt_blob(digest, str(path))
            with store.open_blob(digest) as blob:
                assert (
                    hashlib.sha256(os.pread(blob.fileno(), blob.size, blob.offset)).hexdigest()
                    == digest.encoded
                )
        store.export_image(KEPT, lambda piece: None)
        store.prune()


def killed(node: Node, after: float, seed: int) -> list[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", f"from tests.store.test_killed_blobs import *; victim({node!r}, {seed})"],
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


def test_a_kill_at_any_moment_loses_no_image_and_leaves_no_damage(node: Node) -> None:
    chance = random.Random(5)
    store = Store(node)
    kept = put(store, image_of(tar({"a": b"1" * 5000}), tar({"b": b"2"}), compression="gzip"), KEPT)
    acknowledged = 0
    wanted: dict[str, str] = {}  # names -> images, acknowledged and not asked to change since
    for turn in range(KILLS):
        for line in killed(node, chance.uniform(0, 0.4), turn):
            if line[0] == "+":
                name, _, identity = line[1:].partition(" ")
                wanted[name] = identity
                acknowledged += 1
            else:
                wanted.pop(line[1:], None)
        report = store.check()
        assert report.problems == (), report
        found = {name: image.id for image in store.images() for name in image.names}
        assert found[KEPT] == kept
        assert {name: found.get(name) for name in wanted} == wanted
    assert acknowledged > KILLS / 2
    store.check(repair=True)
    assert (store.check().problems, store.check().leftovers) == ((), 0)
    for name in (*NAMES, KEPT):
        with contextlib.suppress(Exception):
            store.remove_image(name)
    store.prune(all_images=True)
    for folder in ("layers", "tmp", "blobs/sha256"):
        path = f"{node.root}/{folder}"
        assert not os.path.isdir(path) or os.listdir(path) == [], folder
    assert not [line for line in mounts() if f"{node.root}/tmp" in line]
    store.close()
    for line in mounts():
        if str(node.state) in line:
            kernel.umount(line.split()[4], kernel.MNT_DETACH)


def mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()
