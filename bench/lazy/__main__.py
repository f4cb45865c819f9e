"""`python -m bench.lazy`: measure, and print the table of docs/lazy-pulling.md."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.lazy.measure import measure
from tools import machine

if __name__ == "__main__":
    made = machine.prepare()
    try:
        with tempfile.TemporaryDirectory(prefix="orlop-bench-", dir="/var/tmp") as folder:
            print("\n".join(measure(Path(folder, "lazy"))))
    finally:
        if made:
            machine.undo()
