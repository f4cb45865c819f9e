"""A disk without room, and a store that others prune and empty meanwhile."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from orlop.build.errors import StepFailed
from orlop.kit import kernel
from orlop.kit.errors import OrlopError, Unavailable
from orlop.kit.node import Node
from tests.build.builds import Bench, command
from tests.support.node import BUSYBOX, busybox, put_image, temporary_node

pytestmark = pytest.mark.host


def test_a_full_disk_ends_in_a_clear_error_and_a_clean_store(node: Node, tmp_path: Path) -> None:
    """The layers' folder and the rest of the root are on a file system of 24 MB."""
    with temporary_node(images={}) as small:
        os.makedirs(small.root)
        kernel.mount("tmpfs", small.root, "tmpfs", 0, "size=24m")
        try:
            put_image(small, BUSYBOX, busybox())
            bench = Bench(small, tmp_path / "context")
            with (bench.folder / "large").open("wb") as stream:
                stream.truncate(60 << 20)
            with pytest.raises(OrlopError) as caught:
                bench.make("FROM busybox\nCOPY large /large\n")
            assert isinstance(caught.value, Unavailable)
            assert "No space left" in str(caught.value)
            with pytest.raises((StepFailed, Unavailable)):  # told by the command, or by our records
                bench.make("FROM busybox\nRUN head -c 60000000 /dev/zero > /large\n")
            bench.write({"small": "x"})
            built = bench.make("FROM busybox\nCOPY small /small\nRUN cat /small > /other\n")
            assert bench.files(built)["other"] == "x"
            assert bench.store.check().clean
            assert not os.listdir(f"{small.root}/tmp")
            bench.store.close()
        finally:
            subprocess.run(["umount", "--recursive", "--lazy", small.root], check=False)


def test_builds_while_others_prune_remove_and_check(bench: Bench) -> None:
    """Every build ends well, whatever went from the cache meanwhile; then all is whole."""
    bench.write({"f": "x"})
    steps = "".join(f"RUN echo {number} > /{number}\n" for number in range(3))
    (bench.folder / "Containerfile").write_text(
        f"FROM busybox\nARG WHO\n{steps}COPY f /f\nRUN echo $WHO > /who\n"
    )
    until = time.monotonic() + 15
    pending: list[subprocess.Popen[bytes]] = []
    ended: list[tuple[int, bytes]] = []
    turn = 0
    disturbances = (("store", "prune"), ("image", "remove", "--force", "app0"), ("store", "check"))
    while time.monotonic() < until or pending:
        while time.monotonic() < until and len(pending) < 4:
            turn += 1
            arguments = (
                "build",
                "-q",
                "--build-arg",
                f"WHO={turn % 5}",
                "-t",
                f"app{turn % 3}",
                str(bench.folder),
            )
            pending.append(command(bench.node, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        disturbance = disturbances[turn % len(disturbances)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        assert command(bench.node, *disturbance, **quiet).wait(60) in (0, 3, 4)
        for child in [child for child in pending if child.poll() is not None]:
            pending.remove(child)
            ended.append((child.returncode, child.communicate()[1]))
    assert [text for code, text in ended if code] == []
    assert bench.store.check().clean
    bench.store.prune(all_images=True)
    assert not bench.store.images()
