"""The Node Resource Interface as the verbs of `pod` meet it: their hooks, handed to the plugins.

The hooks run in worker threads; plugins live on the loop. Where there is no plugin a hook costs a look.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from orlop.cri.nri import describe, resources
from orlop.cri.nri.adjust import adjusted
from orlop.cri.nri.plugins import Plugins
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.cri.nri.settings import NriSettings
from orlop.cri.nri.updates import Updater
from orlop.kit import limits
from orlop.kit.errors import OrlopError, TimedOut
from orlop.pod.context import Pods, as_container, as_sandbox
from orlop.pod.hooks import Hooks
from orlop.pod.model import Container, Sandbox
from orlop.runtime.model import ContainerSpec, Resources

_T = TypeVar("_T")
_ENDS = 2  # threads that tell of containers that ended of themselves
_COMING = frozenset({"run_sandbox", "create_container"})
_GONE = frozenset({"remove_sandbox", "remove_container"})
_PASSED = _GONE | {"created_container"}
_log = logging.getLogger(__name__)


class Nri(Hooks):
    """Give it to `Pods.hooks` after `start`. `start` and `stop` on the loop, hooks in any other thread."""

    def __init__(self, pods: Pods, settings: NriSettings, *, manager: str = "cri") -> None:
        """Plugins are told of the pods that `manager` made: those of which the hooks are called."""
        self._pods = pods
        self._manager = manager
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._updater = Updater(pods)
        self._ends = concurrent.futures.ThreadPoolExecutor(_ENDS, thread_name_prefix="nri-ends")
        self._plugins: Plugins | None = None
        #: Made by this daemon, perhaps not among the records' yet: whoever joins meanwhile hears of them.
        self._coming: set[str] = set()
        #: What plugins know and have not been told the end of.
        self._live: set[str] = set()
        self._telling: dict[str, threading.Event] = {}  # of whose end somebody is telling them

    async def start(self) -> None:
        """Start the installed plugins and listen. What goes wrong with a plugin is logged."""
        if self._settings.enable:
            self._loop = asyncio.get_running_loop()
            self._plugins = Plugins(
                self._settings, self._settings.socket_of(self._pods.node), self._state, self._wanted
            )
            await self._plugins.start()

    async def stop(self) -> None:
        """Plugins are disconnected, those started here ended; from now on the hooks do nothing."""
        plugins, self._plugins = self._plugins, None
        if plugins is not None:
            await plugins.stop()
        self._updater.close()
        self._ends.shutdown(wait=False, cancel_futures=True)

    # What plugins are told of

    def wants(self, event: str, identifier: str) -> bool:
        if event in _COMING:
            self._coming.add(identifier)
        wanted = self._is_heard
        if event in _PASSED or (event in _COMING and wanted):  # whoever joins now will hear of it
            self._coming.discard(identifier)
        if event in _GONE and not wanted:
            self._live.discard(identifier)
        return wanted

    def run_sandbox(self, sandbox: Sandbox) -> None:
        self._live.add(sandbox.id)
        request = pb.RunPodSandboxRequest(pod=self._pod(sandbox))
        self._ask(pb.RUN_POD_SANDBOX, request, pb.RunPodSandboxResponse)
        self._coming.add(sandbox.id)

    def update_sandbox(self, sandbox: Sandbox, overhead: Resources, limits: Resources) -> None:
        request = pb.UpdatePodSandboxRequest(
            pod=self._pod(sandbox),
            overhead_linux_resources=resources.message(overhead),
            linux_resources=resources.message(limits),
        )
        self._ask(pb.UPDATE_POD_SANDBOX, request, pb.UpdatePodSandboxResponse)

    def updated_sandbox(self, sandbox: Sandbox) -> None:
        request = pb.PostUpdatePodSandboxRequest(pod=self._pod(sandbox))
        self._tell(pb.POST_UPDATE_POD_SANDBOX, request, pb.PostUpdatePodSandboxResponse)

    def stop_sandbox(self, sandbox: Sandbox) -> None:
        if self._is_end(sandbox.id):
            request = pb.StopPodSandboxRequest(pod=self._pod(sandbox))
            self._tell(pb.STOP_POD_SANDBOX, request, pb.StopPodSandboxResponse)

    def remove_sandbox(self, sandbox: Sandbox) -> None:
        self.stop_sandbox(sandbox)
        request = pb.RemovePodSandboxRequest(pod=self._pod(sandbox))
        self._tell(pb.REMOVE_POD_SANDBOX, request, pb.RemovePodSandboxResponse)

    def create_container(self, sandbox: Sandbox, container: Container, spec: ContainerSpec) -> ContainerSpec:
        plugins = self._plugins
        if plugins is None:
            return spec
        self._live.add(container.id)
        config = self._pods.engine.preview(spec)
        shown = describe.container(self._pods, container, config, state=pb.CONTAINER_UNKNOWN)
        made = self._wait(plugins.create(self._pod(sandbox), shown))
        self._coming.add(container.id)
        self._updater.apply(made.updates.others(), made.updates.evict)
        return adjusted(spec, made.adjust, self._pods.engine.settings.cdi_spec_dirs)

    def created_container(self, sandbox: Sandbox, container: Container) -> None:
        request = pb.PostCreateContainerRequest(pod=self._pod(sandbox), container=self._container(container))
        self._tell(pb.POST_CREATE_CONTAINER, request, pb.PostCreateContainerResponse)

    def start_container(self, sandbox: Sandbox, container: Container) -> None:
        request = pb.StartContainerRequest(pod=self._pod(sandbox), container=self._container(container))
        self._ask(pb.START_CONTAINER, request, pb.StartContainerResponse)

    def started_container(self, sandbox: Sandbox, container: Container) -> None:
        request = pb.PostStartContainerRequest(pod=self._pod(sandbox), container=self._container(container))
        self._tell(pb.POST_START_CONTAINER, request, pb.PostStartContainerResponse)

    def update_container(self, sandbox: Sandbox, container: Container, limits: Resources) -> Resources:
        plugins = self._plugins
        if plugins is None:
            return limits
        pod, shown = self._pod(sandbox), self._container(container)
        made = self._wait(plugins.update(pod, shown, resources.message(limits)))
        self._updater.apply(made.others(container.id), made.evict)
        return resources.changed(limits, made.of(container.id))

    def updated_container(self, sandbox: Sandbox, container: Container) -> None:
        request = pb.PostUpdateContainerRequest(pod=self._pod(sandbox), container=self._container(container))
        self._tell(pb.POST_UPDATE_CONTAINER, request, pb.PostUpdateContainerResponse)

    def stopped_container(self, sandbox: Sandbox, container: Container) -> None:
        """Told afterwards, by this thread or by the one that told of it first."""
        own = threading.Event()
        told = self._telling.setdefault(container.id, own)
        if told is not own:
            told.wait(limits.NRI_WAIT)
            return
        try:
            if self._is_end(container.id):
                self._stopped(sandbox, container)
        except OrlopError as error:
            _log.warning("%s", error)
        except Exception:
            _log.exception("NRI plugins are not told that container %s has ended", container.id)
        finally:
            del self._telling[container.id]
            own.set()

    def ended_container(self, sandbox: Sandbox, container: Container) -> None:
        """Plugins hear of an end once: of this one or of the stop, whichever comes first. Does not wait."""
        if container.id in self._live and self._plugins is not None:
            self._ends.submit(self.stopped_container, sandbox, container)

    def remove_container(self, sandbox: Sandbox, container: Container) -> None:
        self.stopped_container(sandbox, container)
        request = pb.RemoveContainerRequest(pod=self._pod(sandbox), container=self._container(container))
        self._tell(pb.REMOVE_CONTAINER, request, pb.RemoveContainerResponse)

    # Between the threads and the loop

    def _stopped(self, sandbox: Sandbox, container: Container) -> None:
        if self._plugins is not None:
            made = self._wait(self._plugins.stopped(self._pod(sandbox), self._container(container)))
            self._updater.apply(made.others())

    def _is_end(self, identifier: str) -> bool:
        """Whether plugins know it and have not heard of its end: true for one thread only."""
        try:
            self._live.remove(identifier)
        except KeyError:
            return False
        return True

    @property
    def _is_heard(self) -> bool:
        plugins = self._plugins
        return plugins is not None and plugins.active and not self._updater.is_mine

    def _ask(self, event: int, request: Message, answer: type[Message]) -> None:
        """Raises what the plugins' refusals are."""
        if self._plugins is not None:
            self._wait(self._plugins.tell(event, request, answer))

    def _tell(self, event: int, request: Message, answer: type[Message]) -> None:
        try:
            self._ask(event, request, answer)
        except OrlopError as error:
            _log.warning("%s", error)

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        assert self._loop is not None, "start() comes before"
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(limits.NRI_WAIT)
        except concurrent.futures.TimeoutError as error:
            future.cancel()
            raise TimedOut(
                "NRI", f"plugins kept it waiting for {limits.NRI_WAIT:g} s", hint="see their logs"
            ) from error

    async def _wanted(
        self, updates: Sequence[pb.ContainerUpdate], evictions: Sequence[pb.ContainerEviction]
    ) -> list[pb.ContainerUpdate]:
        """What a plugin wants of its own accord; the failures."""
        return await asyncio.wrap_future(self._updater.submit(updates, evictions))

    # What plugins are shown

    def _state(self) -> tuple[list[pb.PodSandbox], list[pb.Container]]:
        ours = [sandbox for sandbox in self._pods.sandboxes() if sandbox.config.manager == self._manager]
        sandboxes = {sandbox.id: sandbox for sandbox in [*self._on_their_way(), *ours]}
        found = [
            container
            for container in self._pods.containers()
            if container.state in ("created", "running") and container.sandbox_id in sandboxes
        ]
        shown = {container.id: self._container(container) for container in found}
        for identifier in tuple(self._coming - shown.keys()):
            row = self._pods.records.row("containers", identifier)
            if row is not None:
                container = as_container(row)
                shown[identifier] = describe.container(self._pods, container, state=pb.CONTAINER_UNKNOWN)
        self._live.update(sandboxes, shown)
        return [self._pod(sandbox) for sandbox in sandboxes.values()], list(shown.values())

    def _on_their_way(self) -> list[Sandbox]:
        """Pods that this daemon makes, or has made."""
        rows = [self._pods.records.row("sandboxes", identifier) for identifier in tuple(self._coming)]
        return [as_sandbox(row) for row in rows if row is not None]

    def _pod(self, sandbox: Sandbox) -> pb.PodSandbox:
        return describe.pod(self._pods, sandbox)

    def _container(self, container: Container) -> pb.Container:
        return describe.container(self._pods, container)
