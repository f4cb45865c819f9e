"""`python -m tests.fuzz.harness TARGET SECONDS SEEDS FOLDER`: atheris (libFuzzer) over one target.

New inputs go to FOLDER/corpus, what crashes to FOLDER/crash-*; the end is not 0 then. SECONDS 0 runs
every seed once and ends.
"""

from __future__ import annotations

import os
import sys

import atheris  # type: ignore[import-untyped]

from tests.fuzz.targets import TARGETS

_TIMEOUT = 20  # seconds for one input
_MEMORY = 2048  # MiB
_LONGEST = 16384  # bytes of an input


def main(name: str, seconds: int, seeds: str, folder: str) -> None:
    with atheris.instrument_imports(include=["orlop"]):
        target = TARGETS[name]()
    corpus = os.path.join(folder, "corpus")
    os.makedirs(corpus, exist_ok=True)
    limit = [f"-max_total_time={seconds}"] if seconds else ["-runs=0"]
    options = [
        *limit,
        f"-timeout={_TIMEOUT}",
        f"-rss_limit_mb={_MEMORY}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *options, corpus, seeds], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
