"""The answer on standard output: aligned tables for people, JSON for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def emit(value: object) -> None:
    """Print `value` as JSON: values of Orlop become objects by their fields' names."""
    import json

    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: object) -> object:
    """Lists, objects, strings and numbers only: what JSON can say."""
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: plain(inner) for name, inner in vars(value).items() if not name.startswith("_")}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return str(value)  # a Digest is a str
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    return value


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns, two spaces apart. What an image or a user named cannot drive the terminal."""
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for row in (tuple(headers), *cells):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def printable(text: str) -> str:
    """Control characters are shown, not sent."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def size(count: float) -> str:
    """`12.3 MB`: powers of a thousand, as disks and registries count."""
    return _scaled(count, 1000, ("B", "kB", "MB", "GB", "TB", "PB"))


def memory(count: float) -> str:
    """`12.3 MiB`: powers of 1024, as memory is given."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def _scaled(count: float, base: int, units: tuple[str, ...]) -> str:
    value, index = float(count), 0
    while value >= base - 0.05 and index < len(units) - 1:
        value, index = value / base, index + 1
    return f"{value:.1f} {units[index]}" if index else f"{int(value)} {units[0]}"


def span(seconds: float) -> str:
    """`3 minutes`: the largest unit that fits, rounded down."""
    whole = max(0, int(seconds))
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if whole >= length:
            return _counted(whole // length, name)
    return _counted(whole, "second") if whole else "less than a second"


def ago(moment: float, now: float | None = None) -> str:
    """`3 minutes ago`; `never` for 0. `moment` in seconds since the epoch."""
    return f"{span((time.time() if now is None else now) - moment)} ago" if moment else "never"


def stamp(moment: float) -> str | None:
    """RFC 3339 for JSON; None where it has not happened."""
    from orlop.kit.clock import rfc3339

    return rfc3339(moment) if moment else None


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
