"""`make down`: stop what `make up` started and leave no mount, namespace, bridge, rule or process behind."""

from __future__ import annotations

import sys

from orlop.kit.errors import OrlopError
from tools import hello, machine, up


def main() -> int:
    """Every step is tried, whatever became of those before it; the first failure's exit code."""
    code = 0
    for step in (_pods, _node, _registry, machine.undo):
        try:
            step()
        except OrlopError as error:
            print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
            code = code or error.exit_code
    return code


def _pods() -> None:
    up.orlop("play", f"{up.EXAMPLE}/hello.yaml", "--down")


def _node() -> None:
    up.orlop("node", "down", "--time", "2")


def _registry() -> None:
    if hello.stop():
        print(f"  stopped the registry at {hello.ADDRESS}")


if __name__ == "__main__":
    sys.exit(main())
