"""`python -m tests.conformance [--focus REGEX]...`: critest against this tree's daemon."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.conformance import critest, page
from tests.conformance.stand import stand


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--focus", action="append", default=[], help="only specs that match (may be repeated)"
    )
    parser.add_argument("--skip", action="append", default=[], help="not those that match")
    parser.add_argument(
        "--write", action="store_true", help="write docs/conformance.md anew from a whole run"
    )
    parser.add_argument("--keep", type=Path, help="a folder for critest's report and log")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="critest-") as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with stand() as serving:
            specs = critest.run(serving.socket, folder, focus=arguments.focus, skip=arguments.skip)
            (folder / "serve.log").write_text(serving.said(), encoding="utf-8")
            _print(specs, time.monotonic() - begun)
    if arguments.write:
        page.write(specs)
    return 1 if any(spec.state == critest.FAILED for spec in specs) else 0


def _print(specs: list[critest.Spec], seconds: float) -> None:
    for spec in specs:
        if spec.state in (critest.PASSED, critest.FAILED):
            print(f"{spec.state}  {spec.seconds:6.1f} s  {spec.group}: {spec.name}")
        if spec.state == critest.FAILED:
            print(f"        {spec.why[:600]}")
    counts = Counter(spec.state for spec in specs)
    print(", ".join(f"{counts[state]} {state}" for state in sorted(counts)), f"in {seconds:.0f} s")


sys.exit(main())
