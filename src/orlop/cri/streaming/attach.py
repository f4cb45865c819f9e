"""A client at the streams of a container's own process. It may leave at any time; the container goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os

from orlop.cri.streaming import status
from orlop.cri.streaming.client import Client, Wanted, drained, feed
from orlop.cri.streaming.descriptors import readable, stopped, write_all
from orlop.cri.streaming.link import Gone
from orlop.cri.streaming.workers import Workers
from orlop.kit.errors import OrlopError
from orlop.kit.value import dataclass
from orlop.pod.attach import attach, resize
from orlop.pod.context import Pods
from orlop.runtime.attach import AttachSession

_ERROR = 2


@dataclass(frozen=True)
class Attach:
    """What was asked for."""

    container_id: str
    wanted: Wanted


async def serve(pods: Pods, workers: Workers, asked: Attach, client: Client) -> None:
    """Join the client and the container until one of them ends. Raises Gone."""
    try:
        session = await workers.made(attach, AttachSession.close, pods, asked.container_id)
    except OrlopError as error:
        await client.finish(status.failed("attaching to the container", error))
        return
    tasks: list[asyncio.Task[None]] = []
    gone = asyncio.ensure_future(client.gone.wait())
    try:
        os.set_blocking(session.fileno(), False)
        output = asyncio.create_task(_output(session, client))
        tasks.append(output)
        if client.stdin is not None:
            tasks.append(asyncio.create_task(_input(session, client)))
        if asked.wanted.tty:
            tasks.append(asyncio.create_task(_sized(pods, workers, asked.container_id, client)))
        await asyncio.wait({output, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not output.done():
            raise Gone
        await output
        await client.finish(status.SUCCESS)
    finally:
        await stopped(gone, *tasks)
        session.close()  # who does not read must not listen: conmon would wait for us


async def _output(session: AttachSession, client: Client) -> None:
    """To the end of the container's streams. Raises Gone."""
    while True:
        try:
            packet = session.receive()
        except BlockingIOError:
            await readable(session.fileno())
            continue
        if packet is None:
            return
        stream, data = packet
        sink = client.stderr if stream == _ERROR else client.stdout
        if sink is not None and data:
            await sink.write(data)


async def _input(session: AttachSession, client: Client) -> None:
    assert client.stdin is not None

    async def put(data: bytes) -> None:
        await write_all(lambda view: session.send(bytes(view[:_PACKET])), session.fileno(), data)

    if await feed(client.stdin, put):
        session.close_input()
        return
    await drained(client.stdin)


async def _sized(pods: Pods, workers: Workers, container_id: str, client: Client) -> None:
    async for size in client.sizes():
        with contextlib.suppress(OrlopError):  # it has just ended
            await workers.run(resize, pods, container_id, width=size.columns, height=size.lines)


_PACKET = 8192  # conmon reads in pieces of this size
