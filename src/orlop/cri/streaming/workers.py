"""Threads for what blocks: records, starting processes, entering namespaces."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from orlop.kit import limits

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Limits.STREAM_THREADS of them; not the loop's own, which the requests of the CRI need."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(limits.STREAM_THREADS, thread_name_prefix="streaming")

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Its result. A caller that is cancelled waits for the end all the same."""
        return await self.made(function, None, *args, **kwargs)

    async def made(
        self, function: Callable[P, T], undo: Callable[[T], None] | None, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """What `function` makes. `undo` is called with it, in a thread, where the caller was cancelled."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, functools.partial(function, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _ended(future)
            if not future.cancelled() and future.exception() is None and undo is not None:
                await _ended(loop.run_in_executor(self._pool, undo, future.result()))
            raise

    def close(self) -> None:
        self._pool.shutdown()


async def _ended(future: asyncio.Future[T]) -> None:
    """Wait for it, however often we are cancelled meanwhile."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
