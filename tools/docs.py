"""`make docs`: write anew the pages that are made from the source."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from orlop.cli.reference import markdown


def main() -> None:
    Path("docs/cli.md").write_text(markdown(), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "tests.system.kube.page"], check=True)
    print("docs/cli.md and docs/play.md are as the source says")


if __name__ == "__main__":
    main()
