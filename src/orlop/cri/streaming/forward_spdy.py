"""Port-forward by SPDY: for each connection two streams, data and error, with the same requestID."""

from __future__ import annotations

import asyncio

from orlop.cri.streaming.link import Gone, Wire
from orlop.cri.streaming.port_forward import forward
from orlop.cri.streaming.spdy.connection import Connection, Stream
from orlop.cri.streaming.workers import Workers
from orlop.pod.context import Pods

PROTOCOL = "portforward.k8s.io"
_KINDS = ("data", "error")


class Forwarding:
    """All connections of one client to the ports of one pod."""

    def __init__(self, wire: Wire, pods: Pods, workers: Workers, sandbox_id: str, creation: float) -> None:
        self.connection = Connection(wire, self._accept)
        self._pods, self._workers, self._sandbox_id = pods, workers, sandbox_id
        self._creation = creation
        self._halves: dict[str, dict[str, Stream]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until the client goes."""
        try:
            await self.connection.run()
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _accept(self, stream: Stream) -> bool:
        kind, port = stream.headers.get("streamtype", ""), _port(stream)
        if kind not in _KINDS or port is None:
            return False
        # A client from before there were IDs opens error first, then data.
        name = stream.headers.get("requestid") or str(stream.number - (2 if kind == "data" else 0))
        pair = self._halves.setdefault(name, {})
        if kind in pair:
            return False
        pair[kind] = stream
        if len(pair) < len(_KINDS):
            loop = asyncio.get_running_loop()
            self._timers[name] = loop.call_later(self._creation, self._give_up, name)
            return True
        del self._halves[name]
        self._timers.pop(name).cancel()
        task = asyncio.create_task(self._forward(port, pair["data"], pair["error"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def _give_up(self, name: str) -> None:
        """The other half never came."""
        self._timers.pop(name, None)
        for stream in self._halves.pop(name, {}).values():
            _reset(stream)

    async def _forward(self, port: int, data: Stream, error: Stream) -> None:
        try:
            error.inbox.discard()
            ended = await forward(self._pods, self._workers, self._sandbox_id, port, data, error)
            if not ended:
                _reset(data)
        except (Gone, asyncio.CancelledError):
            _reset(data)
            _reset(error)
        finally:
            if not error.local_open:
                _reset(error)  # where the client has not closed its half, which nobody uses


def _port(stream: Stream) -> int | None:
    text = stream.headers.get("port", "")
    if not (text.isascii() and text.isdigit() and len(text) <= len("65535")):
        return None
    return int(text) if 0 < int(text) <= 0xFFFF else None


def _reset(stream: Stream) -> None:
    try:
        stream.reset()
    except Gone:
        return
