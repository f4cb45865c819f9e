"""Long lists in parts, for the streams of the interface: none of them is empty, each item is in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from orlop.kit import limits

T = TypeVar("T", bound=Message)
_ROOM = limits.CRI_MESSAGE // 2  # bytes; one item alone is far below


def batches(items: Sequence[T], size: int = limits.CRI_BATCH) -> Iterator[Sequence[T]]:
    """`items` in order, `size` at a time, fewer where they are large: each part fits into a message."""
    start = room = 0
    for index, item in enumerate(items):
        room += item.ByteSize()
        if index > start and (index - start == size or room > _ROOM):
            yield items[start:index]
            start, room = index, item.ByteSize()
    if items:
        yield items[start:]
