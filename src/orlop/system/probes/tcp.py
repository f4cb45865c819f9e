"""A probe that opens a TCP connection and closes it again."""

from __future__ import annotations

import asyncio

from orlop.system.probes.model import Outcome, TcpAction


async def ask_tcp(action: TcpAction, address: str, limit: float) -> Outcome:
    """Success where the connection opens within `limit` seconds."""
    host = action.host or address
    try:
        async with asyncio.timeout(limit):
            _, writer = await asyncio.open_connection(host, action.port)
    except TimeoutError:
        return Outcome(False, f"{host}:{action.port} did not accept a connection within {limit:g} s")
    except (OSError, ValueError) as error:
        return Outcome(False, f"{host}:{action.port}: {error}")
    writer.transport.abort()
    return Outcome(True)
