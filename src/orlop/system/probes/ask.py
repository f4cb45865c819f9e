"""One door for every kind of probe and hook."""

from __future__ import annotations

import asyncio
from typing import Protocol

from orlop.kit import limits
from orlop.kit.clock import Clock
from orlop.kit.errors import OrlopError
from orlop.system.probes.grpc import ask_grpc
from orlop.system.probes.http import ask_http
from orlop.system.probes.model import (
    Action,
    ExecAction,
    GrpcAction,
    HttpAction,
    Outcome,
    SleepAction,
    Target,
    TcpAction,
)
from orlop.system.probes.tcp import ask_tcp


class Commands(Protocol):
    """Contract: runs `command` in a container for at most `limit` seconds; (exit code, output).

    Raises TimedOut where it did not end (it is killed then), NotFound where the container is gone.
    """

    async def execute(self, container_id: str, command: tuple[str, ...], limit: float) -> tuple[int, str]: ...


async def ask(action: Action, target: Target, limit: float, *, commands: Commands, clock: Clock) -> Outcome:
    """Carry out one probe or hook within `limit` seconds. Never raises but for cancellation."""
    match action:
        case ExecAction(command):
            return await _ask_exec(command, target, limit, commands)
        case HttpAction():
            return await ask_http(action, target.address, limit)
        case TcpAction():
            return await ask_tcp(action, target.address, limit)
        case GrpcAction():
            return await ask_grpc(action, target.address, limit)
        case SleepAction(seconds):
            await clock.sleep(min(seconds, limit))
            return Outcome(True)


async def _ask_exec(command: tuple[str, ...], target: Target, limit: float, commands: Commands) -> Outcome:
    try:
        async with asyncio.timeout(limit + limits.PROBE_EXEC_MARGIN):
            code, output = await commands.execute(target.container_id, command, limit)
    except TimeoutError:
        return Outcome(False, f"the command did not end within {limit:g} s")
    except OrlopError as error:
        return Outcome(False, str(error)[: limits.PROBE_MESSAGE])
    words = output.strip()[-limits.PROBE_MESSAGE :]
    return Outcome(code == 0, words if code == 0 else f"exit code {code}: {words}")
