"""A client that opens an exec or attach by SPDY: one stream each for what it wants, then we begin.

Protocols channel.k8s.io (v1) to v4: v3 brought the terminal's size, v4 the exit code.
"""

from __future__ import annotations

import asyncio

from orlop.cri.streaming.client import Client, Wanted, tell
from orlop.cri.streaming.link import Gone, Link
from orlop.cri.streaming.spdy.connection import Connection, Stream
from orlop.cri.streaming.status import Outcome

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_V4 = "v4.channel.k8s.io"
_RESIZING = ("v4.channel.k8s.io", "v3.channel.k8s.io")
_KINDS = frozenset({"error", "stdin", "stdout", "stderr", "resize"})


class Opening:
    """The streams as they arrive."""

    def __init__(self, link: Link, protocol: str, wanted: Wanted) -> None:
        self.connection = Connection(link, self._accept)
        self._protocol = protocol
        self._streams: dict[str, Stream] = {}
        self._missing = {"error"} | {name for name in ("stdin", "stdout", "stderr") if getattr(wanted, name)}
        if wanted.tty and protocol in _RESIZING:
            self._missing.add("resize")
        self._complete = asyncio.Event()

    def _accept(self, stream: Stream) -> bool:
        kind = stream.headers.get("streamtype", "")
        if kind not in _KINDS or kind in self._streams:
            return False
        self._streams[kind] = stream
        if kind not in self._missing:
            stream.inbox.discard()  # nobody asked for it
        self._missing.discard(kind)
        if not self._missing:
            self._complete.set()
        return True

    async def client(self, seconds: float) -> Client | None:
        """The client once it has opened all that it asked for; None where it took too long. Raises Gone."""
        complete = asyncio.ensure_future(self._complete.wait())
        gone = asyncio.ensure_future(self.connection.gone.wait())
        try:
            done, _ = await asyncio.wait(
                {complete, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            complete.cancel()
            gone.cancel()
        if not done:
            await self._finish(_too_slow(self._missing, seconds))
            return None
        if complete not in done:
            raise Gone
        streams = self._streams
        return Client(
            self.connection.gone,
            self._finish,
            stdin=streams.get("stdin"),
            stdout=streams.get("stdout"),
            stderr=streams.get("stderr"),
            resize=streams.get("resize"),
        )

    async def _finish(self, outcome: Outcome) -> None:
        words = outcome.as_json() if self._protocol == _V4 else outcome.message.encode()
        for name in ("stdout", "stderr"):
            await _closed(self._streams.get(name), b"")
        await _closed(self._streams.get("error"), words)
        for name in ("stdin", "resize"):
            await _closed(self._streams.get(name), b"")
        self.connection.farewell()


def _too_slow(missing: set[str], seconds: float) -> Outcome:
    names = ", ".join(sorted(missing))
    return Outcome(None, f"Internal error occurred: no streams for {names} within {seconds:g} s")


async def _closed(stream: Stream | None, words: bytes) -> None:
    """The client may have reset this one and still listen to the others."""
    if stream is not None and stream.local_open:
        await tell(stream, words)
