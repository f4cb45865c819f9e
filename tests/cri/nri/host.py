"""A runtime that hosts plugins, and the real plugin (plugin/main.go, on containerd/nri's own stub)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from orlop.cri.nri.nri import Nri
from orlop.cri.nri.settings import NriSettings
from orlop.kit.config import Config
from orlop.kit.files import unique
from orlop.kit.node import Node
from orlop.pod.context import Pods
from tests.pod.make import eventually
from tools.builds import local

_T = TypeVar("_T")


def program() -> Path:
    return local("nri-plugin", Path(__file__).parent / "plugin")


class Runtime:
    """`Pods` whose hooks are NRI's, with the loop in a thread of its own, as the daemon has it."""

    def __init__(self, node: Node, folder: Path, **settings: Any) -> None:
        values = {
            "socket_path": str(folder / "nri.sock"),
            "plugin_path": str(folder / "plugins"),
            "plugin_config_path": str(folder / "conf.d"),
            **settings,
        }
        self.folder = folder
        self.socket = str(values["socket_path"])
        self.pods = Pods(node, Config.load(node))
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.nri = Nri(self.pods, NriSettings(**values), manager="")
        self.run(self.nri.start())
        self.pods.hooks = self.nri

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        self.run(self.nri.stop())
        self.run(self.loop.shutdown_default_executor())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.pods.close()


@contextlib.contextmanager
def runtime(node: Node, folder: Path, **settings: Any) -> Iterator[Runtime]:
    made = Runtime(node, folder, **settings)
    try:
        yield made
    finally:
        made.close()


class Log:
    """What a plugin has written down."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in found if event in ("", line["event"])]

    def events(self, container: str = "") -> list[str]:
        """Those that are about a container of this name, or all."""
        return [
            line["event"]
            for line in self.lines()
            if not container or line.get("container", {}).get("name") == container
        ]

    def wait(self, event: str, count: int = 1) -> dict[str, Any]:
        """The last of `count` or more lines of this event."""
        eventually(lambda: len(self.lines(event)) >= count)
        return self.lines(event)[-1]


class Connected(Log):
    """An external plugin, connected and synchronised during a `with` block."""

    def __init__(self, socket: str, path: Path, arguments: list[str], *, wait: bool) -> None:
        super().__init__(path)
        self._arguments = [str(program()), "-socket", socket, *arguments]
        self._patient = wait
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Connected:
        before = len(self.lines("Synchronize"))
        self._process = subprocess.Popen(
            self._arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if self._patient:
            self.wait("Synchronize", before + 1)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def connected(
    socket: str, folder: Path, name: str = "tester", index: str = "10", *, wait: bool = True, **config: Any
) -> Connected:
    """The real plugin with this configuration, at this socket."""
    log, path = folder / f"{index}-{name}.log", folder / f"{unique()[:8]}.json"
    path.write_text(json.dumps({"log": str(log), **config}))
    return Connected(socket, log, ["-name", name, "-idx", index, "-config", str(path)], wait=wait)


@contextlib.contextmanager
def plugin(
    runtime: Runtime, name: str = "tester", index: str = "10", *, wait: bool = True, **config: Any
) -> Iterator[Connected]:
    """The real plugin, a member of the runtime's."""
    with connected(runtime.socket, runtime.folder, name, index, wait=wait, **config) as made:
        if wait:
            eventually(lambda: f"{index}-{name}" in members(runtime))
        yield made


def members(runtime: Runtime) -> list[str]:
    """The names of the plugins that take part, in the order in which they are asked."""
    plugins = runtime.nri._plugins
    return [] if plugins is None else [member.name for member in plugins._members]
