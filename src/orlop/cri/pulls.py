"""Pulls under way: those who ask for the same image with the same credentials wait for one of them."""

from __future__ import annotations

import asyncio
import contextlib
import time

from orlop.cri.observer import Observer
from orlop.cri.status import failure
from orlop.image.auth import Credentials
from orlop.image.pull import Pulled, pull
from orlop.image.settings import ImageSettings
from orlop.kit.errors import Cancelled
from orlop.pod.context import Pods

_Key = tuple[str, Credentials | None]


class Pulls:
    """Belongs to one event loop. `parallel` pulls are at work at the same time, the others wait their turn.

    Whoever waits may go; the pull goes on to its end, so that one who comes again finds the image, or joins.
    """

    def __init__(self, pods: Pods, observer: Observer, parallel: int) -> None:
        self._pods = pods
        self._observer = observer
        self._slots = asyncio.Semaphore(parallel)
        self._under_way: dict[_Key, asyncio.Task[Pulled]] = {}

    def allow(self, parallel: int) -> None:
        """So many pulls at the same time from now on; those that are under way or wait keep their turn."""
        self._slots = asyncio.Semaphore(parallel)

    async def pull(self, name: str, whole: str, credentials: Credentials | None) -> Pulled:
        """Pull `name`, which is `whole` in full. Raises what a pull raises."""
        key = (whole, credentials)
        work = self._under_way.get(key)
        if work is None:
            work = asyncio.create_task(self._pull(name, credentials))
            self._under_way[key] = work
            work.add_done_callback(lambda _: self._under_way.pop(key))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled():  # not we: the daemon is ending
                raise Cancelled(name, "the daemon is ending", hint="pull again") from None
            raise

    async def stop(self) -> None:
        """Cut off what is under way; whole layers stay, and the next pull goes on from them."""
        works = list(self._under_way.values())
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _pull(self, name: str, credentials: Credentials | None) -> Pulled:
        async with self._slots:
            begun = time.monotonic()
            code, size = "CANCELLED", 0
            try:
                settings = self._pods.config.section("image", ImageSettings)
                pulled = await pull(name, self._pods.store, settings=settings, credentials=credentials)
                code, size = "OK", pulled.bytes
            except Exception as error:
                code = failure("PullImage", error).code.name
                raise
            finally:
                with contextlib.suppress(Exception):
                    self._observer.pulled(name, size=size, seconds=time.monotonic() - begun, code=code)
        return pulled
