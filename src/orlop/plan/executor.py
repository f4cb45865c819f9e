"""Who carries steps out: the port, and a fake that records them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from orlop.plan.model import Step


class Executor(Protocol):
    """Contract: `carry_out` is idempotent, for a step may come twice. It raises OrlopError to say no."""

    async def carry_out(self, step: Step) -> None: ...


class RecordingExecutor:
    """Keeps a state in memory and remembers what was asked. `failures` are raised, by key of the object."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self.state: dict[str, Any] = dict(state or {})
        self.carried_out: list[str] = []
        self.running = 0
        self.most_running = 0
        self.failures: dict[str, Exception] = {}

    async def carry_out(self, step: Step) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            if step.key in self.failures:
                raise self.failures[step.key]
            self.carried_out.append(step.id)
            if step.action == "remove":
                self.state.pop(step.key, None)
            elif step.action != "run":
                self.state[step.key] = step.payload
        finally:
            self.running -= 1
