"""All plugins of the daemon: who is there, and the calls that go to each of them in the order of indices.

One call at a time, as plugins expect; a plugin joins between two calls and is told then of all that is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from google.protobuf.message import Message

import orlop
from orlop.cri.nri import launch
from orlop.cri.nri.collect import Adjustments, Updates
from orlop.cri.nri.errors import PluginFailed, PluginRefused
from orlop.cri.nri.owners import Owners
from orlop.cri.nri.plugin import Plugin, Update, method_of
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.cri.nri.settings import NriSettings
from orlop.cri.nri.validate import validate
from orlop.kit import limits, process
from orlop.kit.errors import OrlopError
from orlop.kit.tasks import in_thread

_A = TypeVar("_A", bound=Message)
_log = logging.getLogger(__name__)

#: What is: pods and containers, as plugins see them. Blocks.
State = Callable[[], tuple[list[pb.PodSandbox], list[pb.Container]]]


class Plugins:
    """Used on the loop only, except `active`."""

    def __init__(self, settings: NriSettings, socket_path: str, state: State, update: Update) -> None:
        self._settings = settings
        self._socket = socket_path
        self._state = state
        self._update = update
        self._members: list[Plugin] = []
        self._joining: set[Plugin] = set()
        self._children: dict[Plugin, process.Child] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        # Of its own: all other threads may be waiting for the lock that is held while it looks.
        self._looking = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="nri-state")
        self._server: asyncio.Server | None = None

    @property
    def active(self) -> bool:
        """Whether somebody is to be told of things."""
        return bool(self._members or self._joining)

    # Their coming and going

    async def start(self) -> None:
        """Start the installed plugins, then let others connect. A plugin that fails is left out."""
        settings = self._settings
        for found in await in_thread(launch.installed, settings.plugin_path, settings.plugin_config_path):
            try:
                await self._start_installed(found)
            except OrlopError as error:
                _log.warning("NRI plugin %s is left out: %s", found.path, error)
        if not settings.disable_connections:
            await self._listen(self._socket)

    async def stop(self) -> None:
        """Nobody connects any more; those who are there are told, and the processes started here ended."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(OSError):
                os.unlink(self._socket)
        async with self._lock:
            await asyncio.gather(*(plugin.leave() for plugin in self._members))
        for plugin in tuple(self._joining):
            plugin.close("the daemon ends")
        while self._ending:
            await asyncio.gather(*self._ending, return_exceptions=True)
        self._looking.shutdown(wait=False)

    async def _start_installed(self, found: launch.Installed) -> None:
        child, reader, writer = await launch.launch(found)
        plugin = self._plugin(reader, writer, index=found.index, base=found.base)
        self._children[plugin] = child
        await self._join(plugin, found.config)

    async def _listen(self, path: str) -> None:
        if await in_thread(_answers, path):
            _log.warning("somebody else listens on %s: NRI plugins cannot connect to this daemon", path)
            return
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            before = os.umask(0o177)  # whoever connects is as good as root
            try:
                self._server = await asyncio.start_unix_server(self._connected, path)
            finally:
                os.umask(before)
        except OSError as error:
            _log.warning("NRI plugins cannot connect: %s: %s", path, error.strerror)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._members) + len(self._joining) >= limits.NRI_PLUGINS:
            _log.warning("an NRI plugin is turned away: %d are there", limits.NRI_PLUGINS)
            writer.transport.abort()
            return
        try:
            await self._join(self._plugin(reader, writer), "")
        except OrlopError as error:
            _log.warning("%s", error)

    def _plugin(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, index: str = "", base: str = ""
    ) -> Plugin:
        plugin = Plugin(reader, writer, self._settings, self._update, index=index, base=base)
        plugin.on_close = lambda: self._gone(plugin)
        self._joining.add(plugin)
        return plugin

    async def _join(self, plugin: Plugin, config: str) -> None:
        """Raises PluginFailed; it is closed then."""
        try:
            await plugin.start("orlop", orlop.__version__, config)
            async with self._lock:
                loop = asyncio.get_running_loop()
                pods, containers = await loop.run_in_executor(self._looking, self._state)
                updates = await plugin.synchronize(pods, containers)
                self._members = sorted([*self._members, plugin], key=lambda member: member.index)
        finally:
            self._joining.discard(plugin)
        if plugin.closed:
            self._gone(plugin)
            return
        _log.info("NRI plugins: %s", ", ".join(member.name for member in self._members))
        if updates:
            await self._update(updates, ())

    def _gone(self, plugin: Plugin) -> None:
        self._joining.discard(plugin)
        self._members = [member for member in self._members if member is not plugin]
        child = self._children.pop(plugin, None)
        if child is not None:
            task = asyncio.ensure_future(launch.end(child))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    # Calls

    async def tell(self, event: int, request: Message, answer: type[_A]) -> list[_A]:
        """The answers of all who want the event. Raises PluginRefused, PluginFailed."""
        async with self._lock:
            return [said async for _, said in self._each(event, lambda: request, answer)]

    async def create(self, pod: pb.PodSandbox, container: pb.Container) -> Adjustments:
        """What they want of a new container, checked by the validators.

        Raises PluginRefused, PluginFailed, PluginsClash.
        """
        async with self._lock:
            made = Adjustments(container)
            asked = [(member.index, member.base) for member in self._members]

            def request() -> pb.CreateContainerRequest:
                return pb.CreateContainerRequest(pod=pod, container=made.container)

            async for name, said in self._each(pb.CREATE_CONTAINER, request, pb.CreateContainerResponse):
                made.add(said.adjust, name)
                made.updates.add(said.update, name)
                made.updates.evict.extend(said.evict)
            if self._settings.validate:
                validate(self._settings, pod, container, made.adjust, made.owners, asked)
            await self._validate(pod, container, made, asked)
            return made

    async def update(self, pod: pb.PodSandbox, container: pb.Container, limits: pb.LinuxResources) -> Updates:
        """What they make of a container's new limits. Raises PluginRefused, PluginFailed, PluginsClash."""
        async with self._lock:
            made = Updates(Owners())
            made.requested(container.id, limits)

            def request() -> pb.UpdateContainerRequest:
                return pb.UpdateContainerRequest(
                    pod=pod, container=container, linux_resources=made.of(container.id)
                )

            async for name, said in self._each(pb.UPDATE_CONTAINER, request, pb.UpdateContainerResponse):
                made.add(said.update, name)
                made.evict.extend(said.evict)
            return made

    async def stopped(self, pod: pb.PodSandbox, container: pb.Container) -> Updates:
        """What they want of others now that it has ended. Raises as `update`."""
        async with self._lock:
            made = Updates(Owners())
            request = pb.StopContainerRequest(pod=pod, container=container)
            async for name, said in self._each(pb.STOP_CONTAINER, lambda: request, pb.StopContainerResponse):
                made.add(said.update, name)
            return made

    async def _each(
        self, event: int, request: Callable[[], Message], answer: type[_A]
    ) -> AsyncIterator[tuple[str, _A]]:
        """(name, answer) of each who wants it; `request` is made anew for each."""
        for member in self._members:
            if member.wants(event):
                said = await member.ask(event, request(), answer())
                if said is not None:
                    yield member.name, said

    async def _validate(
        self, pod: pb.PodSandbox, container: pb.Container, made: Adjustments, asked: list[tuple[str, str]]
    ) -> None:
        event = pb.VALIDATE_CONTAINER_ADJUSTMENT
        validators = [member for member in self._members if member.wants(event)]
        if not validators:
            return
        request = pb.ValidateContainerAdjustmentRequest(
            pod=pod,
            container=container,
            adjust=made.adjust,
            update=made.updates.others(),
            owners=made.owners.message(),
            plugins=[pb.PluginInstance(name=base, index=index) for index, base in asked],
        )
        answers = await asyncio.gather(
            *(member.ask(event, request, pb.ValidateContainerAdjustmentResponse()) for member in validators)
        )
        for member, said in zip(validators, answers, strict=True):
            if said is None and not member.closed and not member.wants(event):
                continue  # it is no validator after all
            if said is None:
                raise PluginFailed(
                    f"NRI plugin {member.name}",
                    f"did not answer {method_of(event)}",
                    hint="a validator must: see the plugin's log",
                )
            if said.reject:
                why = said.reason or "it does not say why"
                raise PluginRefused(
                    f"container {container.name}",
                    f"the NRI plugin {member.name} rejects what others want: {why}",
                    hint="see the plugins' configuration",
                )


def _answers(path: str) -> bool:
    """Whether somebody listens on the socket."""
    with socket.socket(socket.AF_UNIX) as ours:
        try:
            ours.connect(path)
        except OSError:
            return False
        return True
