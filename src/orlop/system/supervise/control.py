"""The supervisor's socket: one JSON object a line, a request and its answer, below the node's state folder.

    {"op": "ping"}                              {"pid": 1234}
    {"op": "reconcile"}                         {"revision": 7}   declared pods were read and looked at
    {"op": "changed", "since": 7, "wait": 10}   {"revision": 9}   once it is beyond `since`, or after `wait` s
    {"op": "stop"}                              {}            containers go on running

A failure is {"error": ..., "subject": ..., "cause": ..., "hint": ...}. Only root may connect (0600).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, OrlopError, TimedOut, Unavailable
from orlop.kit.node import Node

SOCKET = "supervise.sock"

Answer = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class NotRunning(Unavailable):
    """No supervisor of this node listens."""

    def __init__(self, node: Node) -> None:
        super().__init__(
            f"the supervisor of {node.root}", "does not run", hint="start it with: orlop supervise"
        )


@contextlib.asynccontextmanager
async def serve(node: Node, operations: Mapping[str, Answer]) -> AsyncIterator[None]:
    """Answer requests for the `with` block. Only who holds the node's supervisor lock may call this."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await _answered(operations, line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # it went away, or sent a line without end: its connection ends
        finally:
            writer.close()

    os.makedirs(node.state, mode=0o711, exist_ok=True)
    with _address(node) as path:
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(connected, path, limit=limits.CONTROL_LINE)
        finally:
            os.umask(before)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(node.in_state(SOCKET))


async def _answered(operations: Mapping[str, Answer], line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        operation = operations.get(request.get("op", "")) if isinstance(request, dict) else None
        if operation is None:
            raise InvalidInput("the request", "no such operation", hint=f"one of {', '.join(operations)}")
        return await operation(request)
    except OrlopError as error:
        return {**error.as_json()}
    except (ValueError, TypeError) as error:
        return InvalidInput("the request", f"is malformed: {error}", hint="send one JSON object").as_json()


async def call(
    node: Node, operation: str, *, limit: float = limits.SUPERVISOR_START, **arguments: Any
) -> dict[str, Any]:
    """Ask the node's supervisor. Raises NotRunning, TimedOut after `limit` seconds, or what it answers."""
    try:
        async with asyncio.timeout(limit):
            answer = await _exchange(node, {"op": operation, **arguments})
    except TimeoutError as error:
        raise TimedOut(
            f"the supervisor of {node.root}",
            f"did not answer within {limit:g} s",
            hint=f"see {node.in_state('supervise.log')}",
        ) from error
    except (OSError, ValueError) as error:
        raise NotRunning(node) from error
    if "error" in answer:
        raise Unavailable(answer["subject"], answer["cause"], hint=answer["hint"])
    return answer


async def _exchange(node: Node, request: Mapping[str, Any]) -> dict[str, Any]:
    with _address(node) as path:
        reader, writer = await asyncio.open_unix_connection(path, limit=limits.CONTROL_LINE)
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(await reader.readline())
    finally:
        writer.close()
    if not isinstance(answer, dict):
        raise ValueError("not an answer")  # noqa: TRY004 (it is the other side's)
    return answer


@contextlib.contextmanager
def _address(node: Node) -> Iterator[str]:
    """The socket's path in a form that is always short enough for a socket's address (unix(7): 107 bytes)."""
    folder = os.open(node.state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
