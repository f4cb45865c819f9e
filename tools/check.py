"""`make check`: format, lint, types, import contracts, spelling, unit tests; all run, all are reported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

_BIN = os.path.dirname(sys.executable)
_WHERE = ("src", "tests", "bench", "tools")

CHECKS: dict[str, list[str]] = {
    "format": ["ruff", "format", "--check", "--quiet", *_WHERE],
    "lint": ["ruff", "check", "--quiet", *_WHERE],
    "types": ["mypy"],
    "imports": ["lint-imports"],
    "generated": ["python", "-m", "tools.proto", "--check"],
    "spelling": ["codespell", *_WHERE, "docs", "examples", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"],
    "unit tests": ["pytest", "-q", "-m", "not host and not vm", "-p", "no:cacheprovider"],
}


def main() -> int:
    # Two at a time: the machines that we build on have two cores.
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(_run, CHECKS))
    return 0 if all(results) else 1


def _run(name: str) -> bool:
    started = time.monotonic()
    program, *arguments = CHECKS[name]
    done = subprocess.run(
        [os.path.join(_BIN, program), *arguments], capture_output=True, text=True, check=False
    )
    passed = done.returncode == 0
    print(f"{'ok    ' if passed else 'FAILED'}  {name:<12} {time.monotonic() - started:5.1f} s", flush=True)
    if not passed or name == "unit tests":
        print(done.stdout + done.stderr, flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
