"""One connected plugin: its registration, its configuration, and the calls to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from orlop.cri.nri.errors import (
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    Broken,
    Oversized,
    PluginFailed,
    PluginRefused,
    RemoteError,
)
from orlop.cri.nri.mux import PLUGIN_SERVICE, RUNTIME_SERVICE, Mux
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.cri.nri.settings import NriSettings
from orlop.cri.nri.ttrpc import Client, Server
from orlop.kit import limits

_A = TypeVar("_A", bound=Message)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_PACKAGE = "nri.pkg.api.v1alpha1"
_PLUGIN, _RUNTIME = f"{_PACKAGE}.Plugin", f"{_PACKAGE}.Runtime"
PROTOCOL = "v0.12.5"  # the release of containerd/nri that this follows
_NAME = re.compile(r"[A-Za-z0-9._+-]+")
_INDEX = re.compile(r"[0-9][0-9]")
_ALL = (1 << (pb.LAST - 1)) - 1
#: Methods that older plugins do not have: they get a StateChange instead.
_CHANGES = frozenset(
    {
        pb.RUN_POD_SANDBOX,
        pb.POST_UPDATE_POD_SANDBOX,
        pb.STOP_POD_SANDBOX,
        pb.REMOVE_POD_SANDBOX,
        pb.POST_CREATE_CONTAINER,
        pb.START_CONTAINER,
        pb.POST_START_CONTAINER,
        pb.POST_UPDATE_CONTAINER,
        pb.REMOVE_CONTAINER,
    }
)

#: Carries out updates that a plugin wants of its own accord; returns those that failed.
Update = Callable[
    [Sequence[pb.ContainerUpdate], Sequence[pb.ContainerEviction]], Awaitable[list[pb.ContainerUpdate]]
]


def method_of(event: int) -> str:
    """`RUN_POD_SANDBOX` -> `RunPodSandbox`."""
    return "".join(word.capitalize() for word in pb.Event.Name(event).split("_"))


def parsed_name(name: str) -> tuple[str, str]:
    """(index, name) of an installed plugin's file name. Raises ValueError."""
    index, _, base = name.partition("-")
    if not _INDEX.fullmatch(index) or not _NAME.fullmatch(base):
        raise ValueError(f"{name!r} is not two digits, a dash and a name")
    return index, base


class Plugin:
    """Used on the loop only. `name` is the full one, such as `10-logger`, once it has registered."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: NriSettings,
        update: Update,
        *,
        index: str = "",
        base: str = "",
    ) -> None:
        self.index, self.base = index, base
        self.events = 0
        self._policy = pb.FailurePolicy()
        self._installed = bool(base)
        self._settings = settings
        self._update = update
        self._registered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._old: set[int] = set()  # events that it knows as StateChange only
        self._mux = Mux(reader, writer)
        self._client = Client(lambda *pieces: self._mux.send(PLUGIN_SERVICE, *pieces))
        self._server = Server(
            lambda *pieces: self._mux.send(RUNTIME_SERVICE, *pieces),
            {
                (_RUNTIME, "RegisterPlugin"): self._register,
                (_RUNTIME, "UpdateContainers"): self._update_containers,
            },
        )
        self._reading: asyncio.Task[None] | None = None
        self.closed = False
        self.on_close: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        return f"{self.index or '??'}-{self.base or 'plugin'}"

    # Its life

    async def start(self, runtime: str, version: str, config: str) -> None:
        """Wait for its registration, then configure it. Raises PluginFailed; it is closed then."""
        self._reading = asyncio.ensure_future(self._read())
        try:
            async with asyncio.timeout(self._settings.plugin_registration_timeout):
                await self._registered
            request = pb.ConfigureRequest(
                config=config,
                runtime_name=runtime,
                runtime_version=version,
                registration_timeout=int(self._settings.plugin_registration_timeout * 1000),
                request_timeout=int(self._settings.plugin_request_timeout * 1000),
                NRI_version=PROTOCOL,
            )
            answer = await self._call("Configure", request, pb.ConfigureResponse())
            if answer.events & ~_ALL:
                raise Broken(f"it wants events that are unknown: {answer.events:#x}")
        except (RemoteError, Broken, Oversized, TimeoutError) as error:
            self.close(str(error) or "it does not answer")
            raise self._failed("register and be configured", error) from error
        self.events = answer.events or _ALL
        self._policy = answer.failure_policy

    async def synchronize(
        self, pods: list[pb.PodSandbox], containers: list[pb.Container]
    ) -> list[pb.ContainerUpdate]:
        """Tell it everything that is, in as many messages as it takes; returns the updates that it wants.

        Raises PluginFailed; it is closed then.
        """
        share, answer = 1.0, pb.SynchronizeResponse()
        try:
            async with asyncio.timeout(self._settings.plugin_request_timeout):
                while True:
                    few, some = _part(pods, share), _part(containers, share)
                    more = len(few) < len(pods) or len(some) < len(containers)
                    request = pb.SynchronizeRequest(pods=few, containers=some, more=more)
                    try:
                        answer = await self._call("Synchronize", request, pb.SynchronizeResponse())
                    except (Oversized, RemoteError) as error:
                        too_large = isinstance(error, Oversized) or error.code == RESOURCE_EXHAUSTED
                        if not too_large or len(few) + len(some) <= 1:
                            raise
                        share /= 2
                        continue
                    if not more:
                        break
                    if answer.update or not answer.more:
                        raise Broken("it does not take a state in several messages")
                    pods, containers = pods[len(few) :], containers[len(some) :]
        except (RemoteError, Broken, Oversized, TimeoutError) as error:
            self.close(str(error) or "it does not answer")
            raise self._failed("take the present state", error) from error
        return list(answer.update)

    async def leave(self) -> None:
        """Say goodbye, then close."""
        if not self.closed:
            with contextlib.suppress(RemoteError, Broken, Oversized, TimeoutError):
                async with asyncio.timeout(limits.NRI_SHUTDOWN):
                    await self._call("Shutdown", pb.Empty(), pb.Empty())
        self.close("the daemon ends")

    def close(self, reason: str) -> None:
        """Nothing is heard from it or said to it any more."""
        if self.closed:
            return
        self.closed = True
        _log.info("plugin %s is disconnected: %s", self.name, reason)
        self._client.close(Broken(reason))
        self._server.close()
        self._mux.close()
        if not self._registered.done():
            self._registered.set_exception(Broken(reason))
            self._registered.exception()
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()
        self.on_close()

    # Calls

    def wants(self, event: int) -> bool:
        return not self.closed and bool(self.events & (1 << (event - 1)))

    async def ask(self, event: int, request: Message, answer: _A) -> _A | None:
        """Its answer to `event`; None where it does not want it, or could not be reached and need not be.

        A plugin that does not answer, or not in this protocol, is disconnected (unless its policy says that
        its slowness is to be forgiven). Raises PluginRefused (it says no) and PluginFailed (it did not
        answer, and its policy says that it must).
        """
        if not self.wants(event):
            return None
        try:
            return await self._event(event, request, answer)
        except RemoteError as error:
            if error.code == UNIMPLEMENTED:
                self.events &= ~(1 << (event - 1))  # it wanted everything, not knowing of this
                return None
            raise PluginRefused(
                f"{method_of(event)}",
                f"the NRI plugin {self.name} refuses: {error}",
                hint="see the plugin's log, or stop it",
            ) from error
        except (Broken, Oversized, TimeoutError) as error:
            slow = isinstance(error, TimeoutError)
            what = (
                f"no answer to {method_of(event)} in {self._settings.plugin_request_timeout:g} s"
                if slow
                else str(error)
            )
            if not (slow and self._policy.keep_connected):
                self.close(what)
            if self._policy.fail_request:
                raise self._failed(f"answer {method_of(event)}", error) from error
            _log.warning("plugin %s: %s; going on without it", self.name, what)
            return None

    async def _event(self, event: int, request: Message, answer: _A) -> _A:
        if event not in self._old:
            try:
                return await self._call(method_of(event), request, answer)
            except RemoteError as error:
                if error.code != UNIMPLEMENTED or event not in _CHANGES:
                    raise
                self._old.add(event)
        change = pb.StateChangeEvent(event=event, pod=request.pod)  # type: ignore[attr-defined,arg-type]
        if "container" in request.DESCRIPTOR.fields_by_name:
            change.container.CopyFrom(request.container)  # type: ignore[attr-defined]
        await self._call("StateChange", change, pb.Empty())
        return answer

    async def _call(self, method: str, request: Message, answer: _A) -> _A:
        body = await self._client.call(
            _PLUGIN, method, request.SerializeToString(), seconds=self._settings.plugin_request_timeout
        )
        try:
            answer.ParseFromString(body)
        except DecodeError as error:
            raise Broken(f"its answer to {method} is no protobuf") from error
        return answer

    # What it calls

    async def _register(self, payload: bytes) -> bytes:
        request = _request(pb.RegisterPluginRequest(), payload)
        if self._registered.done():
            raise RemoteError(INVALID_ARGUMENT, "it has registered already")
        if not self._installed:
            if not _NAME.fullmatch(request.plugin_name):
                raise RemoteError(INVALID_ARGUMENT, f"{request.plugin_name!r} is no name of a plugin")
            if not _INDEX.fullmatch(request.plugin_idx):
                raise RemoteError(INVALID_ARGUMENT, f"{request.plugin_idx!r} is no index: give two digits")
            self.base, self.index = request.plugin_name, request.plugin_idx
        _log.info("plugin %s registers (NRI %s)", self.name, request.NRI_version or "unknown")
        self._registered.set_result(None)
        return b""

    async def _update_containers(self, payload: bytes) -> bytes:
        request = _request(pb.UpdateContainersRequest(), payload)
        if not self._registered.done():
            raise RemoteError(INVALID_ARGUMENT, "register first")
        failed = await self._update(request.update, request.evict)
        return pb.UpdateContainersResponse(failed=failed).SerializeToString()

    async def _read(self) -> None:
        try:
            await self._mux.receive(
                {PLUGIN_SERVICE: self._client.received, RUNTIME_SERVICE: self._server.received}
            )
            self.close("it has closed the connection")
        except Broken as error:
            self.close(str(error))

    def _failed(self, what: str, error: Exception) -> PluginFailed:
        return PluginFailed(
            f"NRI plugin {self.name}",
            f"did not {what}: {error or 'time is over'}",
            hint="see the plugin's log",
        )


def _part(things: list[_T], share: float) -> list[_T]:
    """At least one, where there is one."""
    return things[: max(1, int(len(things) * share))]


def _request(kind: _A, payload: bytes) -> _A:
    try:
        kind.ParseFromString(payload)
    except DecodeError as error:
        raise RemoteError(INVALID_ARGUMENT, "the request is no protobuf") from error
    return kind
