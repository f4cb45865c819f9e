"""The port's contract, held by the fake and by the real pod layer alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from orlop.kit.clock import SystemClock
from orlop.kit.config import Config
from orlop.kit.errors import OrlopError, TimedOut
from orlop.kit.node import Node
from orlop.system.kube.model import Container
from orlop.system.records import PodRecord, Records
from orlop.system.supervise.fake_pods import FakePods
from orlop.system.supervise.pod_layer import PodLayer
from orlop.system.supervise.port import Pods
from tests.support.node import BUSYBOX, temporary_node
from tests.system.supervise.bench import desired

Story = Callable[[Pods, PodRecord], Awaitable[None]]

LONG = Container(name="app", image=BUSYBOX, image_pull_policy="Never", command=("sleep", "1000"))


@contextlib.asynccontextmanager
async def fake(tmp_path: Path) -> AsyncIterator[tuple[Pods, Records]]:
    pods = FakePods(SystemClock())
    yield pods, Records(Node(root=str(tmp_path)))
    pods.close()


@contextlib.asynccontextmanager
async def real(tmp_path: Path) -> AsyncIterator[tuple[Pods, Records]]:
    with temporary_node() as node:
        records = Records(node)
        yield await PodLayer.open(node, Config.load(node), records), records


@pytest.fixture(params=[fake, pytest.param(real, marks=pytest.mark.host)])
def tell(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Story], None]:
    async def main(story: Story) -> None:
        async with request.param(tmp_path) as (pods, records):
            records.declare_pod(desired(LONG, host_network=True), "test", 1.0)
            (record,) = records.pods()
            try:
                await story(pods, record)
            finally:
                seen = await pods.observe(record.uid)
                if seen.sandbox is not None:
                    await pods.remove_sandbox(seen.sandbox.id)
                await pods.forget(record)

    return lambda story: asyncio.run(main(story))


async def running(pods: Pods, record: PodRecord) -> tuple[str, str]:
    """IDs of a sandbox and of the container `app` that runs in it."""
    await pods.make_sandbox(record, 0)
    seen = await pods.observe(record.uid)
    assert seen.sandbox is not None
    await pods.ensure_image(record, "app")
    await pods.start(record, seen.sandbox.id, "app", 0)
    found = (await pods.observe(record.uid)).running("app")
    assert found is not None
    return seen.sandbox.id, found.id


def test_what_is_asked_twice_happens_once(tell: Callable[[Story], None]) -> None:
    async def story(pods: Pods, record: PodRecord) -> None:
        first = await running(pods, record)
        assert await running(pods, record) == first
        seen = await pods.observe(record.uid)
        assert len(seen.containers) == 1 and seen.stale == ()
        assert seen.sandbox is not None and seen.sandbox.state == "ready"

    tell(story)


def test_what_ended_stays_seen_until_it_is_removed(tell: Callable[[Story], None]) -> None:
    async def story(pods: Pods, record: PodRecord) -> None:
        sandbox, container = await running(pods, record)
        for _ in range(2):
            await pods.stop(container, 0.5)
        ended = (await pods.observe(record.uid)).attempt("app", 0)
        assert ended is not None and ended.state == "exited" and ended.exit_code in (137, 143)
        await pods.start(record, sandbox, "app", 1)
        assert len((await pods.observe(record.uid)).containers) == 2
        for _ in range(2):
            await pods.remove(container)
        assert [c.config.attempt for c in (await pods.observe(record.uid)).containers] == [1]

    tell(story)


def test_a_stopped_sandbox_stays_seen_and_a_removed_one_does_not(tell: Callable[[Story], None]) -> None:
    async def story(pods: Pods, record: PodRecord) -> None:
        sandbox, _ = await running(pods, record)
        for _ in range(2):
            await pods.stop_sandbox(sandbox)
        seen = await pods.observe(record.uid)
        assert seen.sandbox is not None and seen.sandbox.state == "notready"
        assert [c.state for c in seen.containers] == ["exited"]
        for _ in range(2):
            await pods.remove_sandbox(sandbox)
        assert (await pods.observe(record.uid)).sandbox is None
        for _ in range(2):
            await pods.forget(record)

    tell(story)


def test_what_is_gone_harms_nobody(tell: Callable[[Story], None]) -> None:
    async def story(pods: Pods, record: PodRecord) -> None:
        gone = "f" * 64
        await pods.stop(gone, 1)
        await pods.remove(gone)
        await pods.stop_sandbox(gone)
        await pods.remove_sandbox(gone)
        await pods.refresh(record)
        await pods.rotate_logs((gone,))
        with pytest.raises(OrlopError):
            await pods.execute(gone, ("true",), 1)

    tell(story)


@pytest.mark.host
def test_commands_in_a_real_container(tmp_path: Path) -> None:
    async def story() -> None:
        async with real(tmp_path) as (pods, records):
            records.declare_pod(desired(LONG), "test", 1.0)
            (record,) = records.pods()
            sandbox, container = await running(pods, record)
            assert await pods.execute(container, ("sh", "-c", "echo out; echo err >&2; exit 3"), 5) == (
                3,
                "out\nerr\n",
            )
            with pytest.raises(TimedOut):
                await pods.execute(container, ("sleep", "100"), 0.3)
            await pods.stop(container, 0)
            with pytest.raises(OrlopError):
                await pods.execute(container, ("true",), 1)
            await pods.remove_sandbox(sandbox)

    asyncio.run(story())


@pytest.mark.host
def test_what_is_nobodys_is_removed_when_a_supervisor_begins() -> None:
    async def story() -> None:
        with temporary_node() as node:
            orphan = node.in_state("bundles", "f" * 64)
            os.makedirs(orphan)
            await PodLayer.open(node, Config.load(node), Records(node))
            assert not os.path.exists(orphan)

    asyncio.run(story())
