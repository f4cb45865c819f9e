"""The client of an exec or attach, whichever protocol it speaks: its streams, its terminal, its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from orlop.cri.streaming.descriptors import Sink, Source
from orlop.cri.streaming.link import Gone
from orlop.cri.streaming.status import Outcome
from orlop.kit import limits
from orlop.kit.value import dataclass

_LARGEST = 0xFFFF


@dataclass(frozen=True)
class Wanted:
    """The streams that were asked for."""

    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool


@dataclass(frozen=True)
class Size:
    """Of a terminal, in characters."""

    columns: int
    lines: int


class Client:
    """`gone` is set when it has left; `finish` tells it how it went, and is the last word."""

    def __init__(
        self,
        gone: asyncio.Event,
        finish: Callable[[Outcome], Awaitable[None]],
        *,
        stdin: Source | None,
        stdout: Sink | None,
        stderr: Sink | None,
        resize: Source | None,
    ) -> None:
        self.gone = gone
        self._finish = finish
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._resize = resize

    async def finish(self, outcome: Outcome) -> None:
        """Raises Gone."""
        await self._finish(outcome)

    async def sizes(self) -> AsyncIterator[Size]:
        """Of its terminal, each time that one is told."""
        if self._resize is None:
            return
        decoder = json.JSONDecoder()
        text = ""
        while data := await _quietly(self._resize):
            text = (text + data.decode("latin-1")).lstrip()
            while text:
                try:
                    value, end = decoder.raw_decode(text)
                except (ValueError, RecursionError):
                    break  # the rest is to come
                text = text[end:].lstrip()
                size = _size(value)
                if size is not None:
                    yield size
            if len(text) > limits.STREAM_RESIZE:
                return


def _size(value: object) -> Size | None:
    if not isinstance(value, dict):
        return None
    by_name = {str(name).lower(): number for name, number in value.items()}
    columns, lines = by_name.get("width", 0), by_name.get("height", 0)
    if not all(isinstance(number, int) and 0 <= number <= _LARGEST for number in (columns, lines)):
        return None
    return Size(columns, lines)


async def _quietly(source: Source) -> bytes:
    try:
        return await source.read()
    except Gone:
        return b""


async def drained(source: Source) -> None:
    """Take all that comes: nobody wants it, and it must not hold up the rest."""
    while await _quietly(source):
        pass


async def tell(sink: Sink | None, data: bytes) -> None:
    """Write and close, where there is such a stream. Raises Gone."""
    if sink is not None:
        if data:
            await sink.write(data)
        await sink.close()


async def feed(source: Source, put: Callable[[bytes], Awaitable[None]]) -> bool:
    """Pass all of it to `put`; whether it was taken to its end."""
    try:
        while data := await source.read():
            await put(data)
    except (OSError, Gone):
        return False
    return True
