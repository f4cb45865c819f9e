"""The supervisor as a whole, over fake pods and real time: its socket, its lock, its pods, its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from orlop.kit import limits
from orlop.kit.clock import SystemClock
from orlop.kit.config import Config
from orlop.kit.errors import Conflict, NotFound, Unavailable
from orlop.kit.node import Node
from orlop.system.records import Records
from orlop.system.supervise import start
from orlop.system.supervise.control import NotRunning, call
from orlop.system.supervise.fake_pods import FakePods
from orlop.system.supervise.supervise import supervise
from orlop.system.supervise.watch import Watch
from tests.support import blocking
from tests.system.supervise.bench import container, desired


@pytest.fixture
def node(tmp_path: Path) -> Node:
    deep = tmp_path / ("a-long-name-for-a-folder-" * 4)  # longer than a socket's address may be
    return Node(root=str(deep / "root"), state=str(deep / "state"))


class Running:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.pods = FakePods(SystemClock())
        self.records = Records(node)

    async def reconcile(self) -> None:
        await call(self.node, "reconcile")

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def supervisor(node: Node, *, on_demand: bool = False) -> AsyncIterator[Running]:
    running = Running(node)
    ready = asyncio.Event()
    task = asyncio.create_task(
        supervise(
            node, Config({}, {}), pods=running.pods, ready=ready.set, on_demand=on_demand, clock=SystemClock()
        )
    )
    waiter = asyncio.create_task(ready.wait())
    await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    try:
        yield running
    finally:
        with contextlib.suppress(NotRunning):
            await call(node, "stop")
        running.pods.close()
        await task


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await asyncio.wait_for(story(), 30)

    blocking.run(main())


def test_what_is_declared_runs_and_what_is_not_wanted_goes(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node) as s:
            s.records.declare_pod(desired(container("app")), "test", 1.0)
            await s.reconcile()
            await s.until(lambda: s.pods.running() == ["app 0"])
            s.records.unwant_pod("default", "web")
            await s.reconcile()
            await s.until(lambda: s.records.pods() == [])

    run(story)


def test_a_replaced_pod_begins_when_the_old_one_is_gone(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node) as s:
            s.records.declare_pod(desired(container("app")), "test", 1.0)
            await s.reconcile()
            await s.until(lambda: s.pods.running() == ["app 0"])
            s.records.declare_pod(desired(container("app"), content="2"), "test", 2.0)
            await s.reconcile()
            await s.until(lambda: len(s.records.pods()) == 1 and s.pods.running() == ["app 0"])
            calls = [c for c in s.pods.calls if c != "rotate_logs"]
            assert calls[-3:] == ["forget", "make_sandbox 0", "start app 0"]
            assert calls.count("start app 0") == 2

    run(story)


def test_one_pod_s_failure_harms_no_other(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with supervisor(node) as s:
            observe = s.pods.observe
            ill = ""

            async def failing(uid: str) -> object:
                if uid == ill:
                    raise RuntimeError("a mistake of ours")
                return await observe(uid)

            monkeypatch.setattr(s.pods, "observe", failing)
            s.records.declare_pod(desired(container("app"), name="ill"), "test", 1.0)
            ill = s.records.pods()[0].uid
            s.records.declare_pod(desired(container("app"), name="well"), "test", 2.0)
            await s.reconcile()
            await s.until(lambda: s.pods.running() == ["app 0"])
            ill = ""
            await s.until(lambda: s.pods.running() == ["app 0", "app 0"])

    run(story)


def test_a_second_supervisor_is_refused(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node):
            with pytest.raises(Conflict, match="runs already"):
                await supervise(node, Config({}, {}), pods=FakePods(SystemClock()))

    run(story)


def test_a_supervisor_on_demand_ends_when_nothing_is_declared(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SUPERVISOR_IDLE", 0.5)
    monkeypatch.chdir("/")

    async def story() -> None:
        async with supervisor(node, on_demand=True) as s:
            s.records.declare_pod(desired(container("app")), "test", 1.0)
            await s.reconcile()
            await asyncio.sleep(1.5)
            assert await start.running(node)
            s.records.unwant_pod("default", "web")
            await s.reconcile()
            async with asyncio.timeout(10):
                while await start.running(node):
                    await asyncio.sleep(0.05)

    run(story)


def test_whoever_waits_hears_of_changes(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node) as s:
            before = (await call(node, "changed"))["revision"]
            waiting = asyncio.create_task(call(node, "changed", since=before, wait=20))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            s.records.declare_pod(desired(container("app")), "test", 1.0)
            await s.reconcile()
            assert (await waiting)["revision"] > before

    run(story)


def test_requests_that_make_no_sense_get_an_error_and_harm_nothing(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node):
            with pytest.raises(Unavailable, match="no such operation"):
                await call(node, "dance")
            for line in (b"[1]\n", b"{\n", b"\xff\n", b"{}\n", b'{"op":"changed","since":"x"}\n'):
                folder = os.open(node.state, os.O_PATH)
                reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/supervise.sock")
                os.close(folder)
                writer.write(line)
                assert "error" in json.loads(await reader.readline())
                writer.close()
            assert await start.running(node)

    run(story)


def test_the_socket_is_for_root_only_and_goes_with_its_supervisor(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node):
            assert os.stat(node.in_state("supervise.sock")).st_mode & 0o777 == 0o600
        assert not os.path.exists(node.in_state("supervise.sock"))
        assert await start.running(node) == 0
        assert await start.stop(node) is False

    run(story)


def test_systemd_is_told(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0orlop-test-" + os.urandom(8).hex())
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + listener.getsockname()[1:].decode())

        async def story() -> None:
            async with supervisor(node):
                assert listener.recv(100) == b"READY=1"

        run(story)
        assert listener.recv(100) == b"STOPPING=1"


def test_a_pod_whose_declaration_is_wrong_is_left_alone(node: Node) -> None:
    async def story() -> None:
        async with supervisor(node) as s:
            s.pods.errors["image"] = [NotFound("x", "no", hint="y")] * 9
            s.records.declare_pod(desired(container("app"), name="bad"), "test", 1.0)
            s.records.declare_pod(desired(container("calm"), name="good"), "test", 2.0)
            await s.reconcile()
            await s.until(lambda: s.records.pods()[0].state.of("app").problem == "ImagePullBackOff")

    run(story)


def test_new_files_are_events(tmp_path: Path) -> None:
    async def story() -> None:
        seen: list[str] = []
        watch = Watch(str(tmp_path / "exits"), seen.append)
        (tmp_path / "exits" / "abc").write_text("0")
        os.rename(tmp_path / "exits" / "abc", tmp_path / "exits" / "def")
        await asyncio.sleep(0.1)
        watch.close()
        assert seen == ["abc", "def"]

    run(story)
