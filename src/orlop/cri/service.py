"""`Service`: what every RPC takes first."""

from __future__ import annotations

import asyncio
from typing import Any

from orlop.cri.observer import Observer
from orlop.cri.settings import CriSettings
from orlop.pod.context import Pods


class Service:
    """The parts that RPCs work with. Plain attributes, set before the first request; safe for many threads.

    `loop` is the daemon's event loop, for worker threads that have something to do there.
    """

    def __init__(
        self,
        pods: Pods,
        settings: CriSettings,
        *,
        streaming: Any = None,
        events: Any = None,
        observer: Observer | None = None,
    ) -> None:
        self.pods = pods
        self.settings = settings
        self.streaming = streaming
        self.events = events
        self.observer = observer or Observer()
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
