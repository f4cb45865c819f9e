"""Building an image in three stages on Debian, every step carried out and none, against buildah and podman.

The base image is in each one's storage beforehand. Each has its steps cached (`--layers`, which is podman's
default), so that the second build has what it needs; "cold" is `--no-cache`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Sample, Timing, in_turns, sampled, tmpfs
from bench.peers import Podman, podman
from bench.run import orlop_env
from orlop.kit import process
from tests.support import images
from tests.support.registry import registry

_ORLOP = os.path.join(os.path.dirname(sys.executable), "orlop")

CONTAINERFILE = """\
FROM {base} AS compile
WORKDIR /src
COPY . .
RUN mkdir /out && for i in 1 2 3 4 5; do cat *.txt | sort | gzip -1 > /out/$i.gz; done
FROM {base} AS assets
RUN mkdir /assets && cp -r /usr/lib/x86_64-linux-gnu /assets/lib
ENV STAGE=assets
FROM {base}
LABEL org.example.bench=1
RUN groupadd -r app && useradd -r -g app app
COPY --from=compile /out /app/bin
COPY --from=assets /assets /app/assets
RUN chown -R app:app /app/bin && echo ready > /app/state
USER app
WORKDIR /app
CMD ["cat", "state"]
"""


def measure(folder: Path, *, rounds: int) -> dict[str, list[Timing]]:
    """Timings by whether the steps are cached, with the memory of the program that builds."""
    with tmpfs(folder) as memory, registry(storage=memory / "registry") as source:
        base = images.debian(source)
        context = memory / "context"
        context.mkdir()
        for number in range(40):
            lines = "\n".join(f"{number * index % 997} line {index}" for index in range(2000))
            (context / f"{number}.txt").write_text(lines)
        (context / "Containerfile").write_text(CONTAINERFILE.format(base=base))
        env = orlop_env(memory / "orlop", source.address)
        process.run([_ORLOP, "image", "pull", "--quiet", base], env=env, timeout=300)
        with podman(memory / "podman", source.address) as peer:
            peer.run("pull", "--quiet", base)
            buildah = _buildah(peer)
            programs = {
                "orlop": ([_ORLOP, "build", "--quiet"], env),
                "buildah": ([*buildah, "build", "--quiet", "--layers", "--isolation", "oci"], peer.env),
                "podman": ([*peer.argv("build"), "--quiet"], peer.env),
            }

            def build(name: str, *options: str) -> Sample:
                argv, environment = programs[name]
                return sampled([*argv, *options, "-t", "bench", str(context)], environment)

            found = {}
            for title, options in (("build, three stages, cold", ["--no-cache"]), ("... warm", [])):
                candidates = {name: functools.partial(build, name, *options) for name in programs}
                found[title] = in_turns(candidates, rounds=rounds)
            return found


def _buildah(peer: Podman) -> Sequence[str]:
    """buildah on podman's storage."""
    storage = ["--root", str(peer.folder / "root"), "--runroot", str(peer.folder / "run")]
    return ["buildah", *storage, "--storage-driver", "overlay"]
