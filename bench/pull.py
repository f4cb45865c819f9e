"""Pulling an image of about 800 MB unpacked from a loopback registry, against the field's programs.

One layer and eight, gzip and zstd, each pull into an empty store. All stores are on the machine's disk, since
that is where images live and EROFS cannot be mounted from a tmpfs; the disk is at rest before each pull, and
what was pulled is removed outside the measured time. Orlop keeps the compressed blobs, as containerd does;
podman and buildah do not. `skopeo copy` to a folder does not unpack: it is the floor of fetching and writing.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import image
from bench.measure import Sample, Timing, high_water, in_turns, reset_high_water, sampled
from bench.peers import Containerd, Podman, containerd, podman
from bench.run import orlop_env
from orlop.kit import process
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")
_REST = 0.5  # seconds that the disk has before each pull, once all is written


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by image ("1 layer, gzip", ...), with the peak memory of each program and of its daemon."""
    found = {}
    with (
        registry() as running,
        podman(folder / "podman", running.address) as peer,
        containerd(folder / "containerd") as daemon,
    ):
        env = orlop_env(folder / "orlop", running.address)
        for compression in ("gzip", "zstd"):
            for count in (1, 8):
                value = images.Image(image.layers(count, compression), {"Cmd": ["bash"]})
                name = images.push(running, f"bench:{compression}-{count}", value)
                del value
                candidates = {
                    "orlop": functools.partial(_orlop, env, name),
                    "skopeo copy to dir: (unpacks nothing)": functools.partial(_skopeo, folder, peer, name),
                    "podman": functools.partial(_podman, peer, name),
                    "buildah": functools.partial(_buildah, peer, name),
                    "containerd": functools.partial(_ctr, daemon, name),
                }
                title = f"Pull: {count} layer{'s' if count > 1 else ''}, {compression}"
                found[title] = in_turns(candidates, rounds=rounds)
        process.run([_ORLOP, "node", "down", "--purge"], env=env)
    return found


def _orlop(env: Mapping[str, str], name: str) -> Sample:
    taken = _rested([_ORLOP, "image", "pull", "--quiet", name], env)
    process.run([_ORLOP, "image", "remove", name], env=env)
    process.run([_ORLOP, "store", "prune"], env=env)
    return taken


def _skopeo(folder: Path, peer: Podman, name: str) -> Sample:
    target = folder / "skopeo"
    taken = _rested(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{name}", f"dir:{target}"], peer.env
    )
    shutil.rmtree(target)
    return taken


def _podman(peer: Podman, name: str) -> Sample:
    taken = _rested(peer.argv("pull", "--quiet", name), peer.env)
    peer.run("rmi", name)
    return taken


def _buildah(peer: Podman, name: str) -> Sample:
    base = ["buildah", *peer.storage()]
    taken = _rested([*base, "pull", "--quiet", name], peer.env)
    process.run([*base, "rmi", name], env=peer.env)
    return taken


def _ctr(daemon: Containerd, name: str) -> Sample:
    reset_high_water(daemon.pid)
    taken = _rested(daemon.argv("image", "pull", "--plain-http", name), process.MINIMAL_ENV)
    taken = Sample(taken.seconds, taken.memory + high_water(daemon.pid))
    process.run(daemon.argv("image", "rm", "--sync", name))
    return taken


def _rested(argv: Sequence[str], env: Mapping[str, str]) -> Sample:
    os.sync()
    time.sleep(_REST)
    return sampled(argv, env)
