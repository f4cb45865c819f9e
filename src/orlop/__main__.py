"""`python -m orlop` is `orlop`."""

from __future__ import annotations

import sys

from orlop.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
