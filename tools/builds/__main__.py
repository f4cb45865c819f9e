"""`python -m tools.builds NAME...`: build these programs (without names: list what there is)."""

from __future__ import annotations

import sys

from tools.builds.build import program
from tools.builds.table import PROGRAMS

for name in sys.argv[1:]:
    print(program(name))
if not sys.argv[1:]:
    print("\n".join(f"{name}\t{build.module}@{build.version}" for name, build in PROGRAMS.items()))
