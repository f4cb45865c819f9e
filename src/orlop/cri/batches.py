"""Long lists in parts, for the streams of the interface: none of them is empty, each item is in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from orlop.kit import limits

T = TypeVar("T")


def batches(items: Sequence[T], size: int = limits.CRI_BATCH) -> Iterator[Sequence[T]]:
    """`items` in order, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
