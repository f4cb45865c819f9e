"""The real program, as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ORLOP = str(Path(sys.executable).with_name("orlop"))


def orlop(
    *arguments: str,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    code: int | None = 0,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `.venv/bin/orlop` to its end; `code` is the exit code that the test expects (None: any)."""
    done = subprocess.run(
        [ORLOP, *arguments],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        check=False,
    )
    text = subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if code is not None:
        assert text.returncode == code, f"{arguments}: {text.returncode}\n{text.stdout}\n{text.stderr}"
    return text


def answer(*arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """What the program says with --output json."""
    return json.loads(orlop(*arguments, "--output", "json", env=env).stdout)
