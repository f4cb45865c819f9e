"""Power cuts at random instants of pushes: what was answered with 201 is there, whole."""

from __future__ import annotations

import http.client
import os
import random
import tempfile
import threading
import time
from pathlib import Path

import pytest

from orlop.image.digest import Digest
from orlop.kit.node import Node
from orlop.store.store import Store
from tests.registry.support import Running, digest, serving
from tests.store.power import KINDS, Disk

pytestmark = [pytest.mark.host, pytest.mark.timeout(280)]

_CUTS = int(os.environ.get("ORLOP_POWER_CUTS", "8"))


class _Pushing:
    """Two clients that push for ever; `answered` is what they were told is there: blobs, and tags."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._stop = threading.Event()
        self.answered: list[tuple[str, bytes]] = []
        self._threads = [threading.Thread(target=self._push, args=(number,)) for number in range(2)]

    def __enter__(self) -> _Pushing:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _push(self, number: int) -> None:
        client = self._running.client()
        chance = random.Random(number)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            data = chance.randbytes(chance.choice((100, 50_000, 700_000)))
            try:
                client.push_blob("a", data)
                self.answered.append((digest(data), data))
                tag = f"t{number}-{turn % 10}"
                manifest = client.push_image("a", tag, data, annotations={"turn": str(turn)})
            except (OSError, http.client.HTTPException):
                return
            self.answered.append((digest(manifest), manifest))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_after_a_cut_the_registry_has_what_it_answered(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    (tmp_path / "orlop.toml").touch()
    with (
        tempfile.TemporaryDirectory(prefix="on-", dir="/var/tmp") as folder,
        Disk(Path(folder), kind, tmp_path) as disk,
    ):
        node = Node(str(disk.path / "r"), str(tmp_path / "s"), str(tmp_path / "orlop.toml"))
        cuts = []
        with serving(node=node) as running:
            with _Pushing(running) as pushing:
                deadline = time.monotonic() + 60
                while len(pushing.answered) < 4:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                for _ in range(_CUTS):
                    time.sleep(chance.uniform(0.02, 0.3))
                    promised = list(pushing.answered)
                    cuts.append((disk.clone(), promised))
            assert running.child.poll() is None
            assert "level=error" not in running.log
        for number, (clone, promised) in enumerate(cuts):
            with disk.started(clone) as place:
                after = Node(str(place / "r"), str(tmp_path / f"s{number}"), str(tmp_path / "orlop.toml"))
                _has(after, promised)


def _has(node: Node, promised: list[tuple[str, bytes]]) -> None:
    store = Store(node)
    try:
        assert store.check().problems == ()
        repositories = store.repositories
        for name, data in promised:
            held = repositories.manifest("a", name)
            if held is not None:
                assert held.data == data
                continue
            assert repositories.blob("a", name) == len(data), name
            with store.open_blob(Digest(name)) as blob:
                found = bytearray(len(data) + 1)
                assert blob.readinto(found) == len(data)
            assert found[: len(data)] == data
    finally:
        store.close()
