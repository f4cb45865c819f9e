"""What validation finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from orlop.system.kube.problem import Path, Problem
from orlop.system.kube.wire import Wire


class Findings:
    """Errors and warnings of one object, each with its path."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, path: Path, text: str) -> None:
        """An empty text is no error: the checks of `names` return that."""
        if text:
            self.problems.append(Problem(path, text))

    def warn(self, path: Path, text: str) -> None:
        self.warnings.append(Problem(path, text))

    def between(self, path: Path, value: int | None, low: int, high: int) -> None:
        if value is not None and not low <= value <= high:
            self.error(path, f"expected a number from {low} to {high}, got {value}")

    def exactly_one(self, path: Path, value: Wire, fields: Sequence[str]) -> None:
        """Of `fields` (names on the wire) of `value`, one is set."""
        names = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
        given = [name for name in fields if getattr(value, names[name]) is not None]
        if not given:
            self.error(path, f"expected one of {', '.join(fields)}")
        elif len(given) > 1:
            self.error(path, f"expected one of {', '.join(fields)}, got {' and '.join(given)}")

    def unique(self, path: Path, names: Iterable[str], field: str = "name") -> None:
        """The items of the list at `path` have different names."""
        seen: set[str] = set()
        for number, name in enumerate(names):
            if name in seen:
                self.error((*path, number, field), f"{name!r} stands twice")
            seen.add(name)

    def each(self, path: Path, names: Iterable[str], rule: Callable[[str], str]) -> None:
        for number, name in enumerate(names):
            self.error((*path, number), rule(name))
