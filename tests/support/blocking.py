"""A loop that notices when somebody blocks it: no callback may hold it for longer than `limit` seconds.

    blocking.run(story())

Blocking work belongs into threads (orlop.kit.tasks). The limit is generous, for a busy machine must not fail
a test; a call that waits (a lock, a child, a name server) is far beyond it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Slow(logging.Handler):
    """Collects asyncio's own reports of slow callbacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("Executing "):
            self.found.append(text)


def run(work: Coroutine[Any, Any, T], *, limit: float = 1.0) -> T:
    """asyncio.run for tests. Fails with what blocked the loop, and where it was made."""
    slow = _Slow()
    logger = logging.getLogger("asyncio")

    async def watched() -> T:
        asyncio.get_running_loop().slow_callback_duration = limit
        return await work

    logger.addHandler(slow)
    try:
        result = asyncio.run(watched(), debug=True)
    finally:
        logger.removeHandler(slow)
    assert not slow.found, "the loop was blocked: " + "; ".join(slow.found)
    return result
