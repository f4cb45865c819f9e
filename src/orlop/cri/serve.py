"""`orlop serve`: the daemon put together.

lock -> logs, metrics, traces -> records -> NRI, streaming, requests -> READY; recovery goes on beside them
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from orlop import __version__
from orlop.cri import socket
from orlop.cri.nri.nri import Nri
from orlop.cri.operate import watchdog
from orlop.cri.operate.collect import Collector
from orlop.cri.operate.logs import set_up
from orlop.cri.operate.observe import Watching
from orlop.cri.operate.relay import relayed
from orlop.cri.operate.reload import Reloader, settings_of
from orlop.cri.operate.report import LOCK, Word
from orlop.cri.operate.settings import ServeSettings, TracingSettings, host_and_port
from orlop.cri.server import Server
from orlop.cri.service import Service
from orlop.cri.settings import CriSettings
from orlop.cri.streaming.server import Streaming
from orlop.kit import limits, locks, systemd
from orlop.kit.config import Config
from orlop.kit.errors import Conflict
from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.pod.context import Pods

_log = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # mallopt(3)
_ARENAS = 2
_STACK = 512 * limits.KIB  # of a thread: what runs in them is not deep


async def serve(
    node: Node,
    load: Callable[[], Config],
    *,
    listen: str = "",
    verbose: bool = False,
    ready: Callable[[str], None] = lambda path: None,
) -> int:
    """Answer the kubelet until SIGTERM or SIGINT; SIGHUP reads the configuration anew; containers go on.

    `load` reads the configuration; `listen` outranks what it says; `ready` is called with the socket's path
    once requests are answered. Returns how many requests were still under way when the time to wait for them
    was over: the caller then ends the process without waiting for their threads. Raises InvalidInput,
    Conflict (another daemon has the node or the socket), and what opening the node raises.
    """
    begun = time.monotonic()
    spare_memory()
    config = load()
    settings = settings_of(config)
    set_up(settings["serve"], verbose=verbose)
    cri: CriSettings = settings["cri"]
    socket.validate(cri)
    passed = systemd.listening()
    inner = socket.path_of("" if passed else listen or cri.listen, node)
    outer = passed[0].getsockname() if passed else inner
    if passed:
        inner = node.in_state("serve.inner.sock")
    word = Word(node)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_only_one(node))
        stack.enter_context(socket.own(inner))
        pods = await in_thread(_opened, node, config, word)
        observer = await stack.enter_async_context(_watching(pods, settings["serve"], settings["tracing"]))
        streaming = Streaming(pods, settings["streaming"])
        service = Service(pods, cri, streaming=streaming, observer=observer)
        nri = Nri(pods, settings["nri"])
        server = Server(service, f"unix:{inner}")
        collector = Collector(pods, word, lambda: server.under_way, observer.metrics)
        collector.interval = settings["serve"].collect_interval

        def collect(interval: float) -> None:
            collector.interval = interval
            collector.changed.set()

        reloader = Reloader(service, config, word, load, collect, verbose=verbose, metrics=observer.metrics)
        stop = asyncio.Event()
        stack.enter_context(_signals({signal.SIGTERM: stop.set, signal.SIGINT: stop.set}))
        await service.start()
        await streaming.start()
        await nri.start()
        pods.hooks = nri
        _bind(server, inner, cri, private=bool(passed))
        await server.start()
        await stack.enter_async_context(relayed(passed, inner))
        async with _beside(collector.run(), watchdog.feed(server.answers), _reloading(reloader)):
            word.say(streaming=streaming.base_url, config=node.config)
            _say_ready(word, outer, time.monotonic() - begun)
            ready(outer)
            await stop.wait()
            _log.info("ending; containers go on running")
            systemd.stopping()
        await service.stop()
        left = await server.stop()
        await streaming.stop()
        await nri.stop()
        return left + collector.at_work


def _say_ready(word: Word, socket_path: str, seconds: float) -> None:
    """To `orlop status`, to systemd and to the log, after so many seconds of starting."""
    word.say(pid=os.getpid(), version=__version__, since=time.time(), socket=socket_path)
    systemd.ready(f"serving {socket_path}")
    _log.info("serving %s", socket_path, extra={"fields": {"seconds": round(seconds, 3)}})


def spare_memory() -> None:
    """Many threads allocate here, and glibc would give eight per core a heap that it never returns."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    threading.stack_size(_STACK)


def _opened(node: Node, config: Config, word: Word) -> Pods:
    """The node's pods. What a reboot took is written down at once, the rest of recovery waits for nobody."""
    pods = Pods(node, config, finish=False)
    boot = pods.records.unfinished()[0]
    if boot and boot != pods.boot:
        live = "boot <> ? AND state IN ('created', 'starting', 'running')"
        containers = len(pods.records.rows("containers", live, (pods.boot,)))
        sandboxes = len(pods.records.rows("sandboxes", "boot <> ? AND state = 'ready'", (pods.boot,)))
        _log.warning(
            "the machine was restarted: %d containers and %d pods of before have ended", containers, sandboxes
        )
        word.say(reboot={"at": pods.now(), "containers": containers, "pods": sandboxes})
    pods.records.after_reboot(pods.boot, pods.now())
    _ = pods.store
    return pods


@contextlib.asynccontextmanager
async def _watching(pods: Pods, serve: ServeSettings, tracing: TracingSettings) -> AsyncIterator[Watching]:
    """The observer, with the metrics' listener and the exporter of traces where they are configured."""
    observer = Watching()
    async with contextlib.AsyncExitStack() as stack:
        if tracing.endpoint:
            from orlop.cri.operate.tracing import Tracing

            observer.tracing = Tracing(tracing)
            stack.push_async_callback(in_thread, observer.tracing.close)
        if serve.metrics_address:
            from orlop.cri.operate import exposition, metrics

            observer.metrics = metrics.Metrics(pods)
            host, port = host_and_port(serve.metrics_address, "[serve] metrics_address")
            page = observer.metrics.text
            where = await stack.enter_async_context(
                exposition.exposed(host, port, page, metrics.CONTENT_TYPE)
            )
            _log.info("metrics at http://%s:%d/metrics", *where)
        yield observer


@contextlib.contextmanager
def _only_one(node: Node) -> Iterator[None]:
    """One daemon keeps a node; commands work on it beside."""
    path = node.in_root(LOCK)
    with locks.attempt(path) as held:
        if not held:
            raise Conflict(
                f"node {node.root}", "another daemon serves it", hint=f"see which with: fuser -v {path}"
            )
        yield


@contextlib.asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These coroutines go on during the block, and are cancelled at its end."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reloading(reloader: Reloader) -> None:
    """A reload for each SIGHUP, one after the other; several that come meanwhile are one."""
    asked = asyncio.Event()
    with _signals({signal.SIGHUP: asked.set}):
        while True:
            await asked.wait()
            asked.clear()
            await reloader.reload()


def _bind(server: Server, path: str, settings: CriSettings, *, private: bool) -> None:
    """Nobody but root may connect before owner and mode are what they are to be; `private`: nor later."""
    before = os.umask(0o177)
    try:
        server.bind()
    finally:
        os.umask(before)
    if not private:
        socket.hand_over(path, settings)


@contextlib.contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
