"""A bench for one pod: a keeper on a hand-turned clock, over fake pods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from orlop.kit.clock import ManualClock
from orlop.kit.node import Node
from orlop.system.kube.model import Container, DesiredPod, Pod, PodSpec
from orlop.system.kube.volume_model import Metadata
from orlop.system.records import PodRecord, Records
from orlop.system.supervise.fake_pods import FakePods
from orlop.system.supervise.keeper import Keeper


def container(name: str, command: str = "run", **more: object) -> Container:
    return Container(name=name, image="image", command=tuple(command.split()), **more)  # type: ignore[arg-type]


def desired(*containers: Container, name: str = "web", content: str = "1", **spec: object) -> DesiredPod:
    pod = Pod(
        metadata=Metadata(name=name),
        spec=PodSpec(containers=containers, **spec),  # type: ignore[arg-type]
    )
    return DesiredPod(uid="", owner=f"Pod/default/{name}", pod=pod, content=content, volume_data="")


class Threads(ThreadPoolExecutor):
    """Knows whether one of its threads works, or has a result that the loop has not seen."""

    def __init__(self) -> None:
        super().__init__(8)
        self._given: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self._given.append(future)
        return future

    def idle(self) -> bool:
        self._given = [future for future in self._given if not future.done()]
        return not self._given


class Bench:
    """`kill` ends the supervisor as SIGKILL does; `begin` starts a successor over the same records."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.clock = ManualClock()
        self.pods = FakePods(self.clock, lambda _: self.keeper.poke())
        self.records = Records(node)
        self.keeper: Keeper
        self.task: asyncio.Task[None] | None = None
        self._threads = Threads()
        asyncio.get_running_loop().set_default_executor(self._threads)

    def record(self) -> PodRecord:
        return self.records.pods()[-1]

    async def play(self, wanted: DesiredPod) -> None:
        self.records.declare_pod(wanted, "test", self.clock.now())
        await self.begin()

    async def begin(self) -> None:
        self.keeper = Keeper(self.record(), pods=self.pods, records=self.records, clock=self.clock)
        self.task = asyncio.create_task(self.keeper.run())
        await self.settle()

    async def kill(self) -> None:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])

    async def down(self) -> None:
        self.records.unwant_pod("default", self.record().desired.name)
        self.keeper.update(self.record())
        await self.settle()

    async def settle(self) -> None:
        await self.advance(0.0)

    async def advance(self, seconds: float, step: float = 1.0) -> None:
        """Turn the clock in steps, so that the threads that write records keep up with it."""
        for _ in range(4):
            await self._idle()
        done = 0.0
        while done < seconds:
            await self.clock.advance(min(step, seconds - done))
            await self._idle()
            done += step

    async def _idle(self) -> None:
        """Wait until nothing happens any more at this instant: no thread works, no task is about to run."""
        quiet = 0
        while quiet < 40:
            before = (len(self.pods.calls), self.keeper.state)
            await asyncio.sleep(0 if self._threads.idle() else 0.001)
            still = self._threads.idle() and before == (len(self.pods.calls), self.keeper.state)
            quiet = quiet + 1 if still else 0


@contextlib.asynccontextmanager
async def bench(tmp: object) -> AsyncIterator[Bench]:
    made = Bench(Node(root=f"{tmp}/root", state=f"{tmp}/state"))
    try:
        yield made
    finally:
        if made.task is not None:
            await made.kill()
        made.pods.close()
        made.records.close()
