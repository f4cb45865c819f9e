"""`make down`: stop what `make up` started and leave no mount, namespace, bridge, rule or process behind."""

from __future__ import annotations

import sys

from orlop.kit.errors import OrlopError
from tools import hello, machine, up


def main() -> int:
    try:
        up.orlop("play", f"{up.EXAMPLE}/hello.yaml", "--down")
        up.orlop("node", "down", "--time", "2")
        if hello.stop():
            print(f"  stopped the registry at {hello.ADDRESS}")
        machine.undo()
    except OrlopError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
