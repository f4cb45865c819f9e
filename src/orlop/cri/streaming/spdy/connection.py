"""The streams of one SPDY connection, seen from the server.

Flow control by windows is kept with those who take part in it: whoever sent SETTINGS or a WINDOW_UPDATE.
Kubernetes' own library does neither and counts on TCP, which then holds back all streams of the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from orlop.cri.streaming.link import Gone, Inbox, Wire
from orlop.cri.streaming.spdy import frames
from orlop.cri.streaming.spdy.frames import Status
from orlop.kit import limits


class Stream:
    """One of them. `headers` have names in lower case."""

    def __init__(self, connection: Connection, number: int, headers: Mapping[str, str]) -> None:
        self.number, self.headers = number, headers
        self.inbox = Inbox(self._taken, connection.count)
        self.remote_open = True
        self.local_open = True
        self.sent = 0
        self.granted = 0  # beyond the initial window
        self._owed = 0  # taken, and not yet granted anew
        self._connection = connection

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        """Returns when the client has taken most of it. Raises Gone."""
        view = memoryview(data)
        while view or not data:
            size = await self._connection.allowance(self, len(view))
            if not self.local_open:
                raise Gone
            self._connection.wire.write(frames.data_head(self.number, size), view[:size])
            self._connection.account(self, size)
            view = view[size:]
            await self._connection.wire.drain()
            if not data:
                return

    async def close(self) -> None:
        """No more from us; the client may go on. Raises Gone."""
        if self.local_open:
            self.local_open = False
            self._connection.wire.write(frames.data_head(self.number, 0, fin=True))
            self._connection.forget_finished(self)
            await self._connection.wire.drain()

    def reset(self, status: Status = Status.CANCEL) -> None:
        """Both directions end now. Raises Gone."""
        if self.local_open or self.remote_open:
            self.broken()
            self._connection.forget_finished(self)
            self._connection.wire.write(frames.reset(self.number, status))

    def broken(self) -> None:
        """The client, or its connection, took it away."""
        self.local_open = self.remote_open = False
        self.inbox.break_off()

    def _taken(self, size: int) -> None:
        self._owed += size
        if self._owed >= frames.INITIAL_WINDOW // 2:
            self._connection.grant(self, self._owed)
            self._owed = 0


class Connection:
    """`accept` says of each new stream whether it is wanted; it may keep it, and must not block."""

    def __init__(self, wire: Wire, accept: Callable[[Stream], bool]) -> None:
        self.wire = wire
        self.gone = asyncio.Event()
        self._accept = accept
        self._parser, self._encoder = frames.Parser(), frames.Encoder()
        self._streams: dict[int, Stream] = {}
        self._last = -1
        self._windows = False  # the other side takes part in flow control
        self._initial = frames.INITIAL_WINDOW
        self._sent = self._granted = self._owed = 0
        self._credit = asyncio.Event()

    async def run(self) -> None:
        """Take in frames until the client goes, or talks nonsense."""
        try:
            while data := await self.wire.read():
                for frame in self._parser.feed(data):
                    if isinstance(frame, frames.GoAway):
                        return
                    await self._handle(frame)
        except frames.Malformed:
            self._say_quietly(frames.go_away(max(self._last, 0), 1))
        except Gone:
            return
        finally:
            self._end()

    def farewell(self) -> None:
        """Say that this was all. Raises Gone."""
        self.wire.write(frames.go_away(max(self._last, 0)))

    # For streams

    async def allowance(self, stream: Stream, wanted: int) -> int:
        """How much may be sent now, at least one byte unless none is wanted; waits for it. Raises Gone."""
        while True:
            if self.gone.is_set() or not stream.local_open:
                raise Gone
            if not self._windows or not wanted:
                return wanted
            of_stream = self._initial + stream.granted - stream.sent
            of_all = frames.INITIAL_WINDOW + self._granted - self._sent
            if min(of_stream, of_all) > 0:
                return min(wanted, of_stream, of_all)
            self._credit.clear()
            await self._credit.wait()

    def count(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def account(self, stream: Stream, size: int) -> None:
        stream.sent += size
        self._sent += size

    def grant(self, stream: Stream, size: int) -> None:
        """The client may send so much more on this stream, and in all."""
        if self._windows and not self.gone.is_set():
            self._owed += size
            if stream.remote_open:
                self._say_quietly(frames.window_update(stream.number, size))
            self._say_quietly(frames.window_update(0, self._owed))
            self._owed = 0

    def forget_finished(self, stream: Stream) -> None:
        if not stream.local_open and not stream.remote_open:
            self._streams.pop(stream.number, None)
            self._credit.set()

    # Frames

    async def _handle(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Data):
            await self._data(frame)
        elif isinstance(frame, frames.Syn):
            await self._syn(frame)
        elif isinstance(frame, frames.Ping):
            if frame.number % 2:  # even ones are answers
                self.wire.write(frames.ping(frame.number))
                await self.wire.drain()
        elif isinstance(frame, frames.Reset):
            stream = self._streams.pop(frame.stream, None)
            if stream is not None:
                stream.broken()
                self._credit.set()
        elif isinstance(frame, frames.Settings):
            self._windows = True
            if frame.window is not None:
                self._initial = frame.window
            self._credit.set()
        elif isinstance(frame, frames.WindowUpdate):
            self._widen(frame)
        elif isinstance(frame, frames.Reply) and frame.fin:
            stream = self._streams.get(frame.stream)
            if stream is not None:
                self._finished(stream)

    async def _data(self, frame: frames.Data) -> None:
        stream = self._streams.get(frame.stream)
        if stream is None or not stream.remote_open:
            return  # it was for a stream that we reset, or that is no more
        stream.inbox.put(frame.data)
        if frame.fin:
            self._finished(stream)
        elif stream.inbox.full:
            await self.wire.hold(stream.inbox)

    async def _syn(self, frame: frames.Syn) -> None:
        if frame.stream % 2 == 0 or frame.stream <= self._last:
            self.wire.write(frames.reset(frame.stream, Status.PROTOCOL_ERROR))
            await self.wire.drain()
            return
        self._last = frame.stream
        stream = Stream(self, frame.stream, frame.headers)
        if len(self._streams) >= limits.SPDY_STREAMS or not self._accept(stream):
            stream.broken()
            self.wire.write(frames.reset(frame.stream, Status.REFUSED_STREAM))
        else:
            self._streams[frame.stream] = stream
            self.wire.write(self._encoder.reply(frame.stream, {}))
            if frame.fin:
                self._finished(stream)
        await self.wire.drain()

    def _widen(self, frame: frames.WindowUpdate) -> None:
        self._windows = True
        if frame.stream == 0:
            self._granted += frame.delta
        elif frame.stream in self._streams:
            self._streams[frame.stream].granted += frame.delta
        self._credit.set()

    def _finished(self, stream: Stream) -> None:
        stream.remote_open = False
        stream.inbox.finish()
        self.forget_finished(stream)

    def _say_quietly(self, data: bytes) -> None:
        try:
            self.wire.write(data)
        except Gone:
            return

    def _end(self) -> None:
        self.gone.set()
        for stream in list(self._streams.values()):
            stream.remote_open = False
            stream.inbox.finish()
        self._credit.set()
