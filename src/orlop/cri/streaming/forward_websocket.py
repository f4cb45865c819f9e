"""Port-forward by WebSocket: for each port that was asked for a channel for data and one for what went wrong.

On both the port is told first, as two bytes, the lower first. Nothing can tell that one direction ends.
"""

from __future__ import annotations

import asyncio
import contextlib

from orlop.cri.streaming.descriptors import stopped
from orlop.cri.streaming.link import Gone
from orlop.cri.streaming.port_forward import PortForward, forward
from orlop.cri.streaming.websocket import Channels, WebSocket
from orlop.cri.streaming.workers import Workers
from orlop.pod.context import Pods

PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io")
MOST_PORTS = 127  # a channel is a byte


async def serve(pods: Pods, workers: Workers, asked: PortForward, channels: Channels) -> None:
    """One connection to each port; returns when all have ended. Raises Gone."""
    for number, channel in enumerate(channels.channels):
        await channel.write(asked.ports[number // 2].to_bytes(2, "little"))
    tasks = [
        asyncio.create_task(_forward(pods, workers, asked.sandbox_id, port, channels, 2 * number))
        for number, port in enumerate(asked.ports)
    ]
    gone = asyncio.ensure_future(channels.gone.wait())
    try:
        for task in tasks:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            raise Gone
        await channels.socket.close()
    finally:
        await stopped(gone, *tasks)


async def _forward(
    pods: Pods, workers: Workers, sandbox_id: str, port: int, channels: Channels, first: int
) -> None:
    data, error = channels.channels[first : first + 2]
    with contextlib.suppress(Gone):
        await forward(pods, workers, sandbox_id, port, data, error)


def opened(socket: WebSocket, protocol: str, ports: tuple[int, ...]) -> Channels:
    """The channels for these ports."""
    return Channels(socket, protocol, [may for _ in ports for may in (True, False)])
