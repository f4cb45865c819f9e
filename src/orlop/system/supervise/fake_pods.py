"""The port's fake: pods that live in memory, by the same contract, on any clock.

What a container does is told by its command: `run` for ever, `exit SECONDS CODE`, `oom SECONDS`. One that
ignores its stop signal has the argument `deaf`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Collection
from dataclasses import replace

from orlop.kit.clock import Clock
from orlop.kit.errors import NotFound, OrlopError
from orlop.network.model import Addresses
from orlop.pod.model import Container, ContainerConfig, Sandbox, SandboxConfig
from orlop.system.records import PodRecord
from orlop.system.supervise.model import Seen

_DEAF = "deaf"


class FakePods:
    """`calls` lists what was asked for, in order; `errors` by call (`start app`) are raised once each.

    `executed` answers probes and hooks: (container's name, command) -> exit code, 0 where absent.
    """

    def __init__(self, clock: Clock, notify: Callable[[str], None] = lambda container_id: None) -> None:
        self.calls: list[str] = []
        self.errors: dict[str, list[OrlopError]] = {}
        self.executed: dict[tuple[str, tuple[str, ...]], int] = {}
        self.started: list[float] = []  # when each start was asked for
        self.notify = notify
        self._clock = clock
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._ends: dict[str, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)

    # The port

    async def observe(self, uid: str) -> Seen:
        mine = [s for s in self._sandboxes.values() if s.config.uid == uid]
        mine.sort(key=lambda s: s.config.attempt)
        if not mine:
            return Seen()
        newest = mine[-1]
        containers = tuple(c for c in self._containers.values() if c.sandbox_id == newest.id)
        return Seen(newest, containers, tuple(mine[:-1]))

    async def ensure_image(self, pod: PodRecord, container: str) -> None:
        self._called(f"image {container}", quiet=True)

    async def make_sandbox(self, pod: PodRecord, attempt: int) -> None:
        self._called(f"make_sandbox {attempt}")
        for sandbox in self._sandboxes.values():
            if (sandbox.config.uid, sandbox.config.attempt) == (pod.uid, attempt):
                return
        number = next(self._numbers)
        config = SandboxConfig(pod.desired.name, pod.uid, pod.desired.namespace, attempt)
        addresses = Addresses(ips=(f"10.0.0.{number}",))
        self._sandboxes[f"s{number}"] = Sandbox(f"s{number}", config, "ready", self._clock.now(), addresses)

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._called("stop_sandbox")
        if sandbox_id in self._sandboxes:
            self._kill_all(sandbox_id)
            self._sandboxes[sandbox_id] = replace(self._sandboxes[sandbox_id], state="notready")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self._called("remove_sandbox")
        self._kill_all(sandbox_id)
        self._sandboxes.pop(sandbox_id, None)
        self._containers = {k: c for k, c in self._containers.items() if c.sandbox_id != sandbox_id}

    async def start(self, pod: PodRecord, sandbox_id: str, container: str, attempt: int) -> None:
        self._called(f"start {container} {attempt}")
        self.started.append(self._clock.now())
        for known in self._containers.values():
            if (known.sandbox_id, known.config.name, known.config.attempt) == (
                sandbox_id,
                container,
                attempt,
            ):
                return
        declared = next(c for c in pod.desired.pod.every_container if c.name == container)
        config = ContainerConfig(container, declared.image, attempt, declared.command, declared.args)
        identity = f"c{next(self._numbers)}"
        now = self._clock.now()
        self._containers[identity] = Container(
            identity, sandbox_id, config, "image", "running", now, started=now, pid=1
        )
        self._ends[identity] = asyncio.get_running_loop().create_task(self._live(identity, declared.command))

    async def stop(self, container_id: str, grace: float) -> None:
        found = self._containers.get(container_id)
        self._called(f"stop {found.config.name if found else container_id}")
        if found is None or found.state != "running":
            return
        if _DEAF in (found.config.args or ()):
            await self._clock.sleep(grace)
            self._end(container_id, 137, "Error")
        else:
            self._end(container_id, 143, "Error")

    async def remove(self, container_id: str) -> None:
        found = self._containers.pop(container_id, None)
        self._called(f"remove {found.config.name} {found.config.attempt}" if found else "remove")

    async def execute(self, container_id: str, command: tuple[str, ...], limit: float) -> tuple[int, str]:
        found = self._containers.get(container_id)
        if found is None or found.state != "running":
            raise NotFound(container_id, "no such running container", hint="look again")
        self._called(f"exec {found.config.name} {' '.join(command)}", quiet=True)
        return self.executed.get((found.config.name, command), 0), ""

    async def refresh(self, pod: PodRecord) -> None:
        self._called("refresh", quiet=True)

    async def rotate_logs(self, container_ids: Collection[str]) -> None:
        self._called("rotate_logs", quiet=True)

    async def forget(self, pod: PodRecord) -> None:
        self._called("forget")

    # For tests

    def running(self) -> list[str]:
        """Names and attempts of what runs (`app 0`), in the order of their start."""
        return [
            f"{c.config.name} {c.config.attempt}" for c in self._containers.values() if c.state == "running"
        ]

    def reboot(self) -> None:
        """The machine starts anew: all that ran is lost, the records are there."""
        for sandbox_id, sandbox in self._sandboxes.items():
            self._sandboxes[sandbox_id] = replace(sandbox, state="notready")
        for identity, container in list(self._containers.items()):
            if container.state == "running":
                self._end(identity, 255, "Lost")

    def die(self, name: str, code: int) -> None:
        """The running container of that name ends by itself."""
        for identity, container in list(self._containers.items()):
            if container.config.name == name and container.state == "running":
                self._end(identity, code, "Completed" if code == 0 else "Error")

    def close(self) -> None:
        for task in self._ends.values():
            task.cancel()

    def _called(self, call: str, *, quiet: bool = False) -> None:
        if not quiet:
            self.calls.append(call)
        for prefix, errors in self.errors.items():
            if errors and call.startswith(prefix):
                raise errors.pop(0)

    async def _live(self, identity: str, command: tuple[str, ...]) -> None:
        verb, *rest = command or ("run",)
        if verb == "exit":
            await self._clock.sleep(float(rest[0]))
            self._end(identity, int(rest[1]), "Completed" if rest[1] == "0" else "Error")
        elif verb == "oom":
            await self._clock.sleep(float(rest[0]))
            self._end(identity, 137, "OOMKilled")

    def _kill_all(self, sandbox_id: str) -> None:
        for identity, container in list(self._containers.items()):
            if container.sandbox_id == sandbox_id:
                self._end(identity, 137, "Error")

    def _end(self, identity: str, code: int, reason: str) -> None:
        container = self._containers.get(identity)
        if container is None or container.state != "running":
            return
        self._containers[identity] = replace(
            container, state="exited", exit_code=code, reason=reason, finished=self._clock.now(), pid=0
        )
        self.notify(identity)
