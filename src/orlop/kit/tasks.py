"""asyncio's side of the house: blocking work in threads, with cancellation that reaches it.

The only module of `kit` that imports asyncio. Layers below `system` are plain functions (they are made of
system calls and short-lived children); whoever runs a loop calls them through `in_thread`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from orlop.kit.errors import Cancelled

P = ParamSpec("P")
T = TypeVar("T")


class Cancellation:
    """A flag that blocking code looks at between two pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raises Cancelled once somebody cancelled."""
        if self._event.is_set():
            raise Cancelled("the operation", "was cancelled", hint="run it again; it goes on where it was")

    def wait(self, seconds: float) -> None:
        """Sleep up to `seconds`; raises Cancelled as soon as somebody cancels."""
        if self._event.wait(seconds):
            self.check()


async def in_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking `function` in a worker thread, in the caller's context (contextvars). A cancelled caller
    still waits for it to end.

    So nothing goes on behind the back of a task group. Functions that can take long also take a
    Cancellation; see `cancellable`.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    future = loop.run_in_executor(None, functools.partial(context.run, function, *args, **kwargs))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _ended(future)
        if not future.cancelled():
            future.exception()  # retrieved: the cancellation is what counts
        raise


async def cancellable(function: Callable[[Cancellation], T]) -> T:
    """Run blocking `function` in a thread with a Cancellation that is set when the caller is cancelled."""
    cancellation = Cancellation()
    inner = asyncio.ensure_future(in_thread(function, cancellation))
    try:
        return await asyncio.shield(inner)
    except asyncio.CancelledError:
        cancellation.cancel()
        await _ended(inner)
        if not inner.cancelled():
            inner.exception()
        raise


async def _ended(future: asyncio.Future[T]) -> None:
    """Wait for it, however often we are cancelled meanwhile."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([future])
