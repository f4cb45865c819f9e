"""systemd is told that the daemon is alive, for as long as its loop and its threads answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from orlop.kit import systemd

_log = logging.getLogger(__name__)


async def feed(answers: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled; at once where systemd does not watch. `answers` returns when threads were free."""
    interval = systemd.watchdog() / 2
    if not interval:
        return
    while True:
        try:
            async with asyncio.timeout(interval):
                await answers()
            systemd.alive()
        except TimeoutError:
            _log.error("no thread was free for %g s: systemd is not told that the daemon is alive", interval)
        await asyncio.sleep(interval / 2)
