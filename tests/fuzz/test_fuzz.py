"""Every parser of what comes from outside, fuzzed for a bounded time; ORLOP_FUZZ_SECONDS for longer.

A crash prints the input and the traceback. Put the input into seeds/TARGET/, so that it stays tested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS
from tests.store.corpus import CORPUS

SECONDS = int(os.environ.get("ORLOP_FUZZ_SECONDS", "5"))
_START = 120  # seconds for a slow machine to begin and to end
_HERE = Path(__file__).parent

pytestmark = [pytest.mark.host, pytest.mark.timeout(SECONDS + _START + 10)]  # tar makes devices and owners


def run(name: str, seconds: int, folder: Path) -> subprocess.CompletedProcess[str]:
    seeds = folder / "seeds"
    seeds.mkdir(parents=True)
    for number, seed in enumerate(sorted((_HERE / "seeds" / name).iterdir())):
        (seeds / f"{number}").write_bytes(seed.read_bytes())
    if name in ("tar", "erofs"):
        for hostile in CORPUS:
            if not re.search(r"bomb|beyond its bound|without end|length", hostile.name):  # the large ones
                (seeds / hostile.name.replace("/", "_")).write_bytes(hostile.make("/outside"))
    argv = [sys.executable, "-m", "tests.fuzz.harness", name, str(seconds), str(seeds), str(folder)]
    return subprocess.run(
        argv,
        cwd=_HERE.parent.parent,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + _START,
    )


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_own_errors_come_out(name: str, tmp_path: Path) -> None:
    done = run(name, SECONDS, tmp_path / "fuzz")
    crashes = [
        f"{path.name}: {path.read_bytes()!r}"
        for pattern in ("crash-*", "timeout-*", "oom-*", "slow-unit-*")
        for path in (tmp_path / "fuzz").glob(pattern)
        if not pattern.startswith("slow")
    ]
    assert done.returncode == 0, "\n".join([*crashes, done.stdout[-4000:], done.stderr[-4000:]])
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert runs is not None, done.stderr[-2000:]
    assert int(runs.group(1)) > 100, "it did next to nothing"


def test_a_crash_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness can fail: a target that raises ends with its traceback and keeps the input."""
    script = (
        "import sys; from tests.fuzz import harness, targets\n"
        "def broken():\n"
        "    def run(data):\n"
        "        if data[:1] == b'F': raise ValueError('found')\n"
        "    return run\n"
        "targets.TARGETS['broken'] = broken\n"
        "harness.main('broken', 60, sys.argv[1], sys.argv[2])\n"
    )
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "one").write_bytes(b"F")
    argv = [sys.executable, "-c", script, str(seeds), str(tmp_path)]
    done = subprocess.run(argv, cwd=_HERE.parent.parent, capture_output=True, text=True, timeout=_START)
    assert done.returncode != 0
    assert "ValueError: found" in done.stdout + done.stderr
    assert list(tmp_path.glob("crash-*"))
