"""Socket activation: systemd's socket is served, whole and in both directions, and outlives the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.cri.operate.relay import relayed
from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from tests.support.cri import Client

_PAYLOAD = os.urandom(8 * 1024 * 1024)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        yield made


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says everything back once the other side has ended its half."""
    data = await reader.read()
    writer.write(data)
    writer.write_eof()
    await writer.drain()
    writer.close()


def test_bytes_pass_both_ways_and_half_a_connection_may_end(tmp_path: Path) -> None:
    async def story(passed: socket.socket) -> bytes:
        server = await asyncio.start_unix_server(_echo, str(tmp_path / "inner"))
        async with server, relayed([passed], str(tmp_path / "inner")):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "outer"))
            writer.write(_PAYLOAD)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        return answer

    with listening(tmp_path / "outer") as passed:
        assert asyncio.run(story(passed)) == _PAYLOAD


def test_a_reader_that_is_slow_is_waited_for_with_bounded_memory(tmp_path: Path) -> None:
    async def story(passed: socket.socket) -> int:
        sent = 0
        stuck = asyncio.Event()

        async def sending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    writer.write(bytes(64 * 1024))
                    try:
                        await asyncio.wait_for(writer.drain(), 0.5)
                    except TimeoutError:
                        stuck.set()
                        break
                    sent += 64 * 1024
            writer.transport.abort()

        server = await asyncio.start_unix_server(sending, str(tmp_path / "inner"))
        async with server, relayed([passed], str(tmp_path / "inner")):
            with socket.socket(socket.AF_UNIX) as client:
                client.setblocking(False)
                await asyncio.get_running_loop().sock_connect(client, str(tmp_path / "outer"))
                await asyncio.wait_for(stuck.wait(), 60)
        return sent

    with listening(tmp_path / "outer") as passed:
        assert asyncio.run(story(passed)) < 16 * 1024 * 1024


def test_a_connection_ends_where_nobody_is_behind(tmp_path: Path) -> None:
    async def story(passed: socket.socket) -> bytes:
        async with relayed([passed], str(tmp_path / "absent")):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "outer"))
            with contextlib.suppress(ConnectionResetError):
                answer = await asyncio.wait_for(reader.read(), 30)
            writer.close()
        return answer if "answer" in locals() else b""

    with listening(tmp_path / "outer") as passed:
        assert asyncio.run(story(passed)) == b""


def test_the_listening_socket_outlives_the_relay(tmp_path: Path) -> None:
    async def once(passed: socket.socket) -> None:
        async with relayed([passed], str(tmp_path / "absent")):
            await asyncio.sleep(0)

    with listening(tmp_path / "outer") as passed, socket.socket(socket.AF_UNIX) as client:
        asyncio.run(once(passed))
        asyncio.run(once(passed))
        client.connect(str(tmp_path / "outer"))  # waits in the queue for the next daemon


def _activated(node: Node, passed: socket.socket) -> subprocess.Popen[bytes]:
    folders = f"--root {node.root} --state {node.state} --config {node.config}"
    command = (
        f"exec 3<&{passed.fileno()}; export LISTEN_PID=$$; exec {sys.executable} -m orlop serve {folders}"
    )
    return subprocess.Popen(
        ["bash", "-c", command], env={**os.environ, "LISTEN_FDS": "1"}, pass_fds=(passed.fileno(),)
    )


@pytest.mark.host
def test_a_client_that_came_before_the_daemon_is_answered_by_it(node: Node, tmp_path: Path) -> None:
    path = Path(node.root).parent / "outer.sock"
    with listening(path) as passed:
        for _ in range(2):  # and so is one that came while it restarted
            with Client(str(path)) as client:
                answer = client.Version.future(pb.VersionRequest(), timeout=60)
                time.sleep(0.1)
                process = _activated(node, passed)
                try:
                    assert answer.result().runtime_name == "orlop"
                    assert len(client.ListImages(pb.ListImagesRequest(), timeout=60).images) == 1
                    inner = node.in_state("serve.inner.sock")
                    assert os.stat(inner).st_mode & 0o777 == 0o600
                finally:
                    process.terminate()
                    assert process.wait(30) == 0
        assert path.exists()
        assert not os.path.exists(node.in_state("serve.inner.sock"))
