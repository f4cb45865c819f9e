"""What is wrong with a declaration, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orlop.kit.errors import InvalidInput

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """`path` leads from the document's root to the value; it is printed as `spec.containers[0].name`."""

    path: Path
    text: str


class InvalidDeclaration(InvalidInput):
    """All problems of a file, one a line."""

    def __init__(self, source: str, lines: Sequence[str], *, hint: str = "correct the file") -> None:
        super().__init__(source, "\n  ".join(lines), hint=hint)
        self.problems = tuple(lines)


def printable(path: Path) -> str:
    """`spec.containers[0].name`; a key that is no plain word stands in brackets."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.isidentifier() or part.replace("-", "_").isidentifier():
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text
