"""Copying an image of about 800 MB unpacked from one loopback registry to another, against skopeo."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import image
from bench.measure import Sample, Timing, in_turns, sampled, tmpfs
from bench.run import orlop_env
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by what is copied, with the memory that it took.

    Each copy goes to a registry of its own: skopeo remembers which blobs it has sent where. Both registries
    are on one tmpfs.
    """
    found: dict[str, list[Timing]] = {}
    with tmpfs(folder) as memory, registry(storage=memory / "from") as source:
        env = orlop_env(memory / "orlop", source.address)

        def copy(argv: Sequence[str], name: str) -> Sample:
            with registry(storage=memory / "to") as target:
                taken = sampled([*argv, f"docker://{name}", f"docker://{target.address}/copy:1"], env)
            shutil.rmtree(memory / "to")
            return taken

        for count in (1, 8):
            value = images.Image(image.layers(count), {"Cmd": ["bash"]})
            name = images.push(source, f"bench:{count}", value)
            layers = f"{count} layer{'s' if count > 1 else ''}"
            for title, ours, theirs in (
                (f"copy, {layers}", [], []),
                (
                    f"copy with gzip to zstd, {layers}",
                    ["--compress", "zstd"],
                    ["--dest-compress", "--dest-compress-format", "zstd"],
                ),
            ):
                orlop = [_ORLOP, "image", "copy", "--quiet", "--tls-verify", "false", *ours]
                skopeo = ["skopeo", "copy", "--quiet", "--insecure-policy", *theirs]
                skopeo += ["--src-tls-verify=false", "--dest-tls-verify=false"]
                candidates = {
                    "orlop": functools.partial(copy, orlop, name),
                    "skopeo": functools.partial(copy, skopeo, name),
                }
                found[title] = in_turns(candidates, rounds=rounds)
    return found
