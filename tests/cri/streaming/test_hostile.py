"""Bytes from a client that means harm: nothing crashes, hangs, or takes memory beyond its bounds."""

from __future__ import annotations

import asyncio
import os
import struct
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orlop.cri.streaming.client import Client, Wanted
from orlop.cri.streaming.link import Gone, Inbox
from orlop.cri.streaming.remote_spdy import Opening
from orlop.cri.streaming.spdy import frames
from orlop.cri.streaming.spdy.connection import Connection, Stream
from orlop.cri.streaming.spdy.dictionary import DICTIONARY
from orlop.cri.streaming.spdy.frames import Malformed, Parser
from orlop.kit import limits
from tests.cri.streaming.raw import Spdy, WebSocket, connected, exec_streams
from tests.cri.streaming.serving import Serving

QUICK = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
NUMBERS = st.one_of(st.integers(0, 9), st.integers(0, 0xFFFFFFFF))


class Wire:
    """A connection's other side that has said all that it says at once, in pieces."""

    def __init__(self, data: bytes, size: int) -> None:
        self._pieces = [data[place : place + size] for place in range(0, len(data), size)]
        self.written = bytearray()

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        return self._pieces.pop(0) if self._pieces else b""

    def write(self, *parts: bytes | memoryview) -> None:
        for part in parts:
            self.written += part

    async def drain(self) -> None:
        await asyncio.sleep(0)

    async def hold(self, inbox: Inbox) -> None:
        raise Gone


@QUICK
@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_frames_or_malformed(data: bytes, size: int) -> None:
    parser = Parser()
    try:
        for place in range(0, len(data), size):
            list(parser.feed(data[place : place + size]))
    except Malformed:
        return


@st.composite
def some_frames(draw: Any) -> bytes:
    """Well formed to nonsense, one after the other."""
    encoder = frames.Encoder()
    kinds = ["streamtype", "port", "requestid", "x"]
    values = ["error", "data", "stdin", "stdout", "resize", "80", "", "\0"]
    headers = st.dictionaries(st.sampled_from(kinds), st.sampled_from(values), max_size=4)
    word = NUMBERS
    number = st.integers(0, 12)
    raw = st.binary(max_size=30)
    one = st.one_of(
        st.builds(lambda stream, these, fin: ("syn", stream, these, fin), number, headers, st.booleans()),
        st.builds(lambda stream, data, fin: ("data", stream, data, fin), number, raw, st.booleans()),
        st.builds(lambda stream, status: ("reset", stream, status, 0), number, word),
        st.builds(lambda stream, delta: ("window", stream, delta, 0), number, word),
        st.builds(lambda value: ("settings", value, 0, 0), word),
        st.builds(lambda value: ("ping", value, 0, 0), word),
        st.builds(lambda kind, flags, data: ("raw", kind, flags, data), st.integers(0, 12), number, raw),
    )
    made = b""
    for kind, first, second, third in draw(st.lists(one, max_size=25)):
        if kind == "syn":
            made += encoder.syn(first, second, fin=third)
        elif kind == "data":
            made += frames.data_head(first, len(second), fin=third) + second
        elif kind == "reset":
            made += frames.reset(first, second)
        elif kind == "window":
            made += frames.window_update(first, second)
        elif kind == "settings":
            made += frames.settings(first)
        elif kind == "ping":
            made += frames.ping(first)
        else:
            made += struct.pack("!HHI", 0x8003, first, second << 24 | len(third)) + third
    return made


@QUICK
@given(some_frames(), st.integers(1, 100))
def test_any_frames_leave_a_connection_that_ends(data: bytes, size: int) -> None:
    async def scenario() -> None:
        streams: list[Stream] = []

        def accept(stream: Stream) -> bool:
            streams.append(stream)
            return len(streams) % 3 != 0

        connection = Connection(Wire(data, size), accept)
        async with asyncio.timeout(20):
            await connection.run()
            assert connection.gone.is_set()
            for stream in streams:
                with pytest.raises(Gone):
                    await stream.write(b"x")
                try:
                    while await stream.read():
                        pass
                except Gone:
                    continue

    asyncio.run(scenario())


@QUICK
@given(some_frames())
def test_any_frames_open_an_exec_or_end_it(data: bytes) -> None:
    async def scenario() -> None:
        opening = Opening(Wire(data, 64), "v4.channel.k8s.io", Wanted(False, True, True, False))  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            running = asyncio.create_task(opening.connection.run())
            try:
                assert isinstance(await opening.client(10), Client)
            except Gone:
                return
            finally:
                await running

    asyncio.run(scenario())


def packed(block: bytes) -> bytes:
    """A SYN_STREAM with this header block."""
    deflate = zlib.compressobj(zdict=DICTIONARY)
    body = deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
    payload = struct.pack("!IIH", 1, 0, 0) + body
    return struct.pack("!HHI", 0x8003, 1, len(payload)) + payload


def test_headers_that_unpack_to_too_much_are_refused_before_they_are_unpacked() -> None:
    bomb = packed(b"\0" * 50 * limits.MIB)
    assert len(bomb) < limits.SPDY_CONTROL
    with pytest.raises(Malformed, match="bounds"):
        list(Parser().feed(bomb))


def test_a_header_count_that_is_a_lie_is_refused() -> None:
    with pytest.raises(Malformed):
        list(Parser().feed(packed(struct.pack("!I", 0xFFFFFFFF))))
    with pytest.raises(Malformed):
        list(Parser().feed(packed(struct.pack("!II", 1, 0xFFFFFFF0) + b"x")))


def test_a_control_frame_of_16_mib_is_refused_by_its_first_bytes() -> None:
    with pytest.raises(Malformed):
        list(Parser().feed(struct.pack("!HHI", 0x8003, 1, 0xFFFFFF)))


def test_a_data_frame_of_16_mib_is_passed_on_in_pieces() -> None:
    parser = Parser()
    assert list(parser.feed(frames.data_head(1, 0xFFFFFF, fin=True))) == []
    assert list(parser.feed(b"abc")) == [frames.Data(1, b"abc", False)]


def test_streams_of_a_connection_are_bounded() -> None:
    encoder = frames.Encoder()
    count = limits.SPDY_STREAMS + 10
    wire = Wire(b"".join(encoder.syn(2 * number + 1, {}) for number in range(count)), 4096)

    async def scenario() -> None:
        await Connection(wire, lambda stream: True).run()

    asyncio.run(scenario())
    answers = list(Parser().feed(bytes(wire.written)))
    assert len([one for one in answers if isinstance(one, frames.Reset)]) == 10


def test_what_waits_for_all_streams_of_a_connection_together_is_bounded() -> None:
    encoder = frames.Encoder()
    numbers = [2 * number + 1 for number in range(limits.SPDY_STREAMS)]
    opened = b"".join(encoder.syn(number, {}) for number in numbers)
    size = limits.STREAM_CHUNK
    data = b"".join(frames.data_head(number, size) + bytes(size) for number in numbers)

    class Held(Wire):
        async def hold(self, inbox: Inbox) -> None:
            """It goes on at once, as if somebody took a little of this one only."""
            full.add(inbox)

    full: set[Inbox] = set()
    asyncio.run(Connection(Held(opened + data, 4096), lambda stream: True).run())
    assert len(full) == limits.SPDY_STREAMS  # each was asked to wait long before a MiB


@pytest.mark.host
def test_noise_after_an_upgrade_ends_that_client_alone(serving: Serving, container: str) -> None:
    for _ in range(20):
        client: Spdy | WebSocket = Spdy(serving.execute(container, "true"))
        client.socket.sendall(os.urandom(5000))
        client.socket.close()
        client = WebSocket(serving.execute(container, "true"), "v5.channel.k8s.io")
        client.socket.sendall(os.urandom(5000))
        client.socket.close()
        with connected(serving.streaming.base_url) as joined:
            joined.sendall(os.urandom(5000))
    serving.idle()
    assert exec_streams(serving.execute(container, "true"), "stdin", "stdout", "stderr").outcome()


@pytest.mark.host
def test_sizes_that_are_none_change_nothing(serving: Serving, container: str) -> None:
    url = serving.execute(container, "sh", "-c", "read x; stty size", tty=True)
    client = exec_streams(url, "stdin", "stdout", "resize")
    for size in (
        b'{"Width":99,"Height":44}',
        b'{"Width":-1}',
        b'[]{"Width":1e99}',
        b'{"Width":"x"}',
        b"[" * 9000,
    ):
        client.send("resize", size)
    client.send("stdin", b"go\n")
    client.outcome()
    assert b"44 99" in client.said("stdout")


@pytest.mark.host
def test_base64_that_is_none_ends_the_client(serving: Serving, container: str) -> None:
    client = WebSocket(serving.execute(container, "cat"), "v4.base64.channel.k8s.io")
    client.send_text("0!!!!")
    client.to_the_end()
    client.socket.close()
    serving.idle()
