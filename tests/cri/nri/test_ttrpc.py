"""The wire of NRI: frames of the multiplexer, messages of ttrpc, and what is refused of them."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orlop.cri.nri.errors import RESOURCE_EXHAUSTED, UNIMPLEMENTED, Broken, Oversized, RemoteError
from orlop.cri.nri.mux import PLUGIN_SERVICE, RUNTIME_SERVICE, Mux
from orlop.cri.nri.ttrpc import REQUEST, Client, Messages, Server, send_message
from orlop.kit import limits
from orlop.kit.errors import InvalidInput


async def _echo(payload: bytes) -> bytes:
    return payload


async def _refuse(payload: bytes) -> bytes:
    raise InvalidInput("the subject", "is wrong", hint="")


async def _never(payload: bytes) -> bytes:
    await asyncio.sleep(3600)
    return b""


async def _huge(payload: bytes) -> bytes:
    return b"x" * (limits.NRI_MESSAGE + 1)


async def _ends() -> tuple[Mux, Mux]:
    one, other = socket.socketpair()
    return Mux(*await asyncio.open_connection(sock=one)), Mux(*await asyncio.open_connection(sock=other))


def _between(test: Callable[[Client], Awaitable[None]]) -> None:
    """Run `test` with a client whose server is at the other end of a socket."""

    async def main() -> None:
        here, there = await _ends()
        client = Client(lambda *pieces: here.send(PLUGIN_SERVICE, *pieces))
        handlers = {
            ("S", "Echo"): _echo,
            ("S", "Refuse"): _refuse,
            ("S", "Never"): _never,
            ("S", "Huge"): _huge,
        }
        server = Server(lambda *pieces: there.send(PLUGIN_SERVICE, *pieces), handlers)
        tasks = [
            asyncio.ensure_future(here.receive({PLUGIN_SERVICE: client.received})),
            asyncio.ensure_future(there.receive({PLUGIN_SERVICE: server.received})),
        ]
        try:
            await test(client)
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            here.close()
            there.close()

    asyncio.run(main())


@given(some.lists(some.binary(max_size=5000), max_size=5), some.lists(some.integers(1, 4096), min_size=1))
def test_messages_are_found_wherever_the_stream_is_cut(bodies: list[bytes], cuts: list[int]) -> None:
    sent: list[bytes] = []

    async def send(*pieces: bytes) -> None:
        sent.extend(pieces)

    async def all_of_them() -> None:
        for number, body in enumerate(bodies):
            await send_message(send, number, REQUEST, body)

    asyncio.run(all_of_them())
    stream, messages = b"".join(sent), Messages()
    found: list[tuple[int, int, bytes]] = []
    for index in range(len(stream) + 1):
        size = cuts[index % len(cuts)]
        found += messages.feed(stream[:size])
        stream = stream[size:]
    assert found == [(number, REQUEST, body) for number, body in enumerate(bodies)]


def test_a_large_message_is_sent_in_pieces_that_a_small_buffer_can_take() -> None:
    sent: list[int] = []

    async def send(*pieces: bytes) -> None:
        sent.extend(map(len, pieces))

    asyncio.run(send_message(send, 1, REQUEST, b"x" * 100_000))
    assert sent == [10, 100_000]


def test_a_message_that_is_too_large_is_neither_sent_nor_taken() -> None:
    async def send(*pieces: bytes) -> None:
        raise AssertionError

    with pytest.raises(Oversized):
        asyncio.run(send_message(send, 1, REQUEST, b"x" * (limits.NRI_MESSAGE + 1)))
    with pytest.raises(Broken):
        list(Messages().feed(struct.pack("!IIBB", limits.NRI_MESSAGE + 1, 1, 1, 0)))


def test_calls_are_answered_whatever_their_order_and_size() -> None:
    async def test(client: Client) -> None:
        bodies = [b"", b"x", b"y" * 5000, b"z" * (limits.NRI_MESSAGE - 200)]
        answers = await asyncio.gather(*(client.call("S", "Echo", body, seconds=20) for body in bodies))
        assert answers == bodies

    _between(test)


def test_a_refusal_comes_as_its_status() -> None:
    async def test(client: Client) -> None:
        with pytest.raises(RemoteError, match="the subject: is wrong"):
            await client.call("S", "Refuse", b"", seconds=20)
        with pytest.raises(RemoteError) as unknown:
            await client.call("S", "Other", b"", seconds=20)
        assert unknown.value.code == UNIMPLEMENTED
        with pytest.raises(RemoteError) as large:
            await client.call("S", "Huge", b"", seconds=20)
        assert large.value.code == RESOURCE_EXHAUSTED

    _between(test)


def test_a_call_that_is_not_answered_ends_with_its_time_and_the_next_one_is_answered() -> None:
    async def test(client: Client) -> None:
        with pytest.raises(TimeoutError):
            await client.call("S", "Never", b"", seconds=0.05)
        assert await client.call("S", "Echo", b"still here", seconds=20) == b"still here"

    _between(test)


def test_a_closed_client_ends_every_call() -> None:
    async def test(client: Client) -> None:
        waiting = asyncio.ensure_future(client.call("S", "Never", b"", seconds=20))
        await asyncio.sleep(0.01)
        client.close(Broken("gone"))
        with pytest.raises(Broken, match="gone"):
            await waiting
        with pytest.raises(Broken, match="gone"):
            await client.call("S", "Echo", b"", seconds=20)

    _between(test)


def test_more_calls_than_are_taken_are_refused_one_by_one() -> None:
    async def test(client: Client) -> None:
        calls = [client.call("S", "Never", b"", seconds=0.5) for _ in range(limits.NRI_CALLS + 4)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(error, RemoteError) for error in ended) == 4
        assert sum(isinstance(error, TimeoutError) for error in ended) == limits.NRI_CALLS

    _between(test)


def _received(data: bytes) -> list[tuple[int, bytes]]:
    """What a multiplexer hands out of these bytes, for both services."""

    async def main() -> list[tuple[int, bytes]]:
        one, other = socket.socketpair()
        mux = Mux(*await asyncio.open_connection(sock=one))
        found: list[tuple[int, bytes]] = []
        other.sendall(data)
        other.close()
        try:
            await mux.receive(
                {
                    PLUGIN_SERVICE: lambda data: found.append((PLUGIN_SERVICE, data)),
                    RUNTIME_SERVICE: lambda data: found.append((RUNTIME_SERVICE, data)),
                }
            )
        finally:
            mux.close()
        return found

    return asyncio.run(main())


def test_frames_go_to_their_connection_and_those_of_unknown_ones_nowhere() -> None:
    frames = b"".join(
        struct.pack("!II", number, len(data)) + data
        for number, data in [(1, b"a"), (7, b"b"), (2, b""), (1, b"cd")]
    )
    assert _received(frames) == [(1, b"a"), (2, b""), (1, b"cd")]


def test_a_frame_that_is_cut_off_or_too_large_breaks_the_connection() -> None:
    with pytest.raises(Broken, match="within a frame"):
        _received(struct.pack("!II", 1, 100) + b"few")
    with pytest.raises(Broken, match="4294967295"):
        _received(struct.pack("!II", 1, 2**32 - 1))
