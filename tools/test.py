"""`make test`: everything. First what is quick (`make check`), then every test that needs the machine."""

from __future__ import annotations

import os
import subprocess
import sys

from tools import check, machine


def main() -> int:
    made = machine.prepare()
    try:
        checked = check.main()
        pytest = os.path.join(os.path.dirname(sys.executable), "pytest")
        tested = subprocess.run(
            [pytest, "-m", "host", "-n", "2", "--dist", "loadscope", "-q"], check=False
        ).returncode
    finally:
        if made:
            machine.undo()
    return checked or tested


if __name__ == "__main__":
    sys.exit(main())
