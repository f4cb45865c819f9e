"""Times as Go writes them: 1h30m, 1.5s, 300ms."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = re.compile(r"(?a:(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))")
_LONGEST = 2**63 - 1


def nanoseconds(text: str) -> int | None:
    """None where it is none."""
    if text == "0":
        return 0
    if not text or len(text) > 60:
        return None
    at, total = 0, Decimal(0)
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[0] in "+-" else text
    if rest == "0":
        return 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if found is None:
            return None
        total += Decimal(found.group(1)) * _UNITS[found.group(2)]
        at = found.end()
    if not rest or total > _LONGEST:
        return None
    return sign * int(total)
