"""Who may take part in NRI, and what comes of connections that are no plugins. Peers are made of the wire."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from orlop.cri.nri.errors import PluginRefused, RemoteError
from orlop.cri.nri.mux import PLUGIN_SERVICE, RUNTIME_SERVICE, Mux
from orlop.cri.nri.plugins import Plugins
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.cri.nri.settings import NriSettings
from orlop.cri.nri.ttrpc import Client, Handler, Server
from orlop.kit import limits
from tests.cri.nri.host import connected

_PLUGIN, _RUNTIME = "nri.pkg.api.v1alpha1.Plugin", "nri.pkg.api.v1alpha1.Runtime"
_STATE: tuple[list[pb.PodSandbox], list[pb.Container]] = ([], [])


class Peer:
    """A plugin's end, in this process. `heard` are the names of the calls, with the requests' bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *methods: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._mux = Mux(reader, writer)
        self.client = Client(lambda *pieces: self._mux.send(RUNTIME_SERVICE, *pieces))
        handlers = {(_PLUGIN, method): self._handler(method) for method in methods}
        self._server = Server(lambda *pieces: self._mux.send(PLUGIN_SERVICE, *pieces), handlers)
        receivers = {PLUGIN_SERVICE: self._server.received, RUNTIME_SERVICE: self.client.received}
        self.ended = asyncio.ensure_future(self._mux.receive(receivers))

    @classmethod
    async def at(cls, path: str, *methods: str) -> Peer:
        return cls(*await asyncio.open_unix_connection(path), *methods)

    async def register(self, name: str = "peer", index: str = "10") -> None:
        request = pb.RegisterPluginRequest(plugin_name=name, plugin_idx=index)
        await self.call("RegisterPlugin", request.SerializeToString())

    async def call(self, method: str, body: bytes) -> bytes:
        return await self.client.call(_RUNTIME, method, body, seconds=20)

    async def wait(self, method: str) -> bytes:
        while True:
            for name, body in self.heard:
                if name == method:
                    return body
            await asyncio.sleep(0.005)

    def close(self) -> None:
        self._mux.close()

    def _handler(self, method: str) -> Handler:
        async def handle(payload: bytes) -> bytes:
            self.heard.append((method, payload))
            return b""

        return handle


def _with(
    folder: Path,
    test: Callable[[Plugins, str], Awaitable[None]],
    state: tuple[list[pb.PodSandbox], list[pb.Container]] = _STATE,
    *,
    patience: float = 20.0,
) -> None:
    async def update(
        updates: Sequence[pb.ContainerUpdate], evictions: Sequence[pb.ContainerEviction]
    ) -> list[pb.ContainerUpdate]:
        return list(updates)

    async def main() -> None:
        settings = NriSettings(
            plugin_path=str(folder / "none"),
            plugin_registration_timeout=patience,
            plugin_request_timeout=20.0,
        )
        path = str(folder / "sub" / "nri.sock")
        plugins = Plugins(settings, path, lambda: state, update)
        await plugins.start()
        try:
            async with asyncio.timeout(60):
                await test(plugins, path)
        finally:
            await plugins.stop()
        assert not os.path.exists(path)

    asyncio.run(main())


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


def test_only_root_reaches_the_socket(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700

    _with(tmp_path, test)


def test_a_plugin_of_old_gets_its_events_as_changes_of_state(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        peer = await Peer.at(path, "Configure", "Synchronize", "StateChange")
        await peer.register()
        await peer.wait("Synchronize")
        request = pb.PostCreateContainerRequest(container=pb.Container(id="c"))
        for _ in range(2):
            await plugins.tell(pb.POST_CREATE_CONTAINER, request, pb.PostCreateContainerResponse)
        changes = [pb.StateChangeEvent.FromString(body) for name, body in peer.heard if name == "StateChange"]
        assert [(change.event, change.container.id) for change in changes] == [
            (pb.POST_CREATE_CONTAINER, "c")
        ] * 2
        made = await plugins.create(pb.PodSandbox(), pb.Container(id="c"))
        assert made.adjust == pb.ContainerAdjustment(), "what it does not implement is no failure"
        peer.close()

    _with(tmp_path, test)


@pytest.mark.parametrize(
    ("name", "index"), [("", "10"), ("a b", "10"), ("a/b", "10"), ("ok", "1"), ("ok", "1x")]
)
def test_a_registration_without_a_proper_name_is_refused(tmp_path: Path, name: str, index: str) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        peer = await Peer.at(path)
        with pytest.raises(RemoteError):
            await peer.register(name, index)
        peer.close()

    _with(tmp_path, test)


def test_nothing_is_updated_for_who_has_not_registered_and_nobody_registers_twice(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        peer = await Peer.at(path, "Configure", "Synchronize")
        with pytest.raises(RemoteError, match="register first"):
            await peer.call("UpdateContainers", b"")
        await peer.register()
        with pytest.raises(RemoteError, match="already"):
            await peer.register()
        wanted = pb.UpdateContainersRequest(update=[pb.ContainerUpdate(container_id="c")])
        said = await peer.call("UpdateContainers", wanted.SerializeToString())
        assert pb.UpdateContainersResponse.FromString(said).failed[0].container_id == "c"
        peer.close()

    _with(tmp_path, test)


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000, b"\0\0\0\2\0\0\0\4abcd", os.urandom(300)]
)
def test_who_speaks_something_else_is_disconnected_and_others_stay(tmp_path: Path, garbage: bytes) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        peer = await Peer.at(path, "Configure", "Synchronize")
        await peer.register()
        await peer.wait("Synchronize")
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(garbage)
        assert await reader.read() == b"", "within its time to register"
        assert plugins.active
        await plugins.tell(pb.RUN_POD_SANDBOX, pb.RunPodSandboxRequest(), pb.RunPodSandboxResponse)
        peer.close()

    _with(tmp_path, test, patience=1.0)


def test_who_never_registers_is_disconnected(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        await _until(lambda: not plugins.active)
        writer.close()

    _with(tmp_path, test, patience=0.2)


def test_more_connections_than_may_be_are_turned_away(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        ends = [await asyncio.open_unix_connection(path) for _ in range(limits.NRI_PLUGINS)]
        await _until(lambda: len(plugins._joining) == limits.NRI_PLUGINS)
        reader, _ = await asyncio.open_unix_connection(path)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        for _, writer in ends:
            writer.close()
        await _until(lambda: not plugins.active)

    _with(tmp_path, test)


def test_a_plugin_that_is_gone_is_asked_for_nothing(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        peer = await Peer.at(path, "Configure", "Synchronize")
        await peer.register()
        await peer.wait("Synchronize")
        peer.close()
        await _until(lambda: not plugins.active)
        assert (
            await plugins.tell(pb.RUN_POD_SANDBOX, pb.RunPodSandboxRequest(), pb.RunPodSandboxResponse) == []
        )

    _with(tmp_path, test)


def test_a_refusal_names_the_plugin(tmp_path: Path) -> None:
    async def test(plugins: Plugins, path: str) -> None:
        async def refuse(payload: bytes) -> bytes:
            raise RemoteError(2, "not today")

        peer = await Peer.at(path, "Configure", "Synchronize")
        peer._server._handlers = {**peer._server._handlers, (_PLUGIN, "RunPodSandbox"): refuse}
        await peer.register("doorman", "42")
        await peer.wait("Synchronize")
        with pytest.raises(PluginRefused, match="42-doorman refuses: not today"):
            await plugins.tell(pb.RUN_POD_SANDBOX, pb.RunPodSandboxRequest(), pb.RunPodSandboxResponse)
        peer.close()

    _with(tmp_path, test)


@pytest.mark.host
def test_a_large_state_is_told_in_several_messages(tmp_path: Path) -> None:
    pods = [pb.PodSandbox(id=f"p{number}") for number in range(300)]
    containers = [
        pb.Container(id=f"c{number}", name=f"n{number}", env=[f"A={'x' * 9000}"]) for number in range(3000)
    ]

    async def test(plugins: Plugins, path: str) -> None:
        plugin = await asyncio.to_thread(connected(path, tmp_path).__enter__)
        told = plugin.lines("Synchronize")
        assert len(told) == 1, "the stub puts them together"
        assert told[0]["pods"] == 300
        assert told[0]["containers"] == [f"n{number}" for number in range(3000)]
        plugin.kill()

    _with(tmp_path, test, (pods, containers))
