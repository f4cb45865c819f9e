"""Pulling an image of about 800 MB unpacked from a loopback registry, against podman and containerd."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

from bench import image
from bench.measure import Timing, in_turns, tmpfs, whole
from bench.peers import containerd, podman
from bench.run import orlop_env
from orlop.kit import process
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by number of layers ("1 layer", "8 layers"). Each pull goes into an empty store.

    All stores are on one tmpfs: on the machine's disk, what one engine removes slows the next one's writes.
    """
    found = {}
    with (
        tmpfs(folder) as memory,
        registry() as running,
        podman(memory / "podman", running.address) as peer,
        containerd(memory / "containerd") as daemon,
    ):
        env = orlop_env(memory / "orlop", running.address)

        def orlop(name: str) -> float:
            taken = whole([_ORLOP, "image", "pull", "--quiet", name], env)
            process.run([_ORLOP, "image", "remove", name], env=env)
            process.run([_ORLOP, "store", "prune"], env=env)
            return taken

        def podman_pull(name: str) -> float:
            taken = whole(peer.argv("pull", "--quiet", name), peer.env)
            peer.run("rmi", name)
            return taken

        def ctr(name: str) -> float:
            taken = whole(daemon.argv("image", "pull", "--plain-http", name), process.MINIMAL_ENV)
            process.run(daemon.argv("image", "rm", "--sync", name))
            return taken

        for count in (1, 8):
            value = images.Image(image.layers(count), {"Cmd": ["bash"]})
            name = images.push(running, f"bench:{count}", value)
            candidates = {
                "orlop": functools.partial(orlop, name),
                "podman": functools.partial(podman_pull, name),
                "containerd": functools.partial(ctr, name),
            }
            title = f"{count} layer{'s' if count > 1 else ''}"
            found[title] = in_turns(candidates, rounds=rounds)
        process.run([_ORLOP, "node", "down", "--purge"], env=env)
    return found
