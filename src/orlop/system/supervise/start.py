"""Starting the node's supervisor where it does not run, and stopping it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator

from orlop.kit import limits, locks, process
from orlop.kit.errors import TimedOut, Unavailable
from orlop.kit.node import Node
from orlop.system.supervise.control import NotRunning, call

LOCK = "supervise.lock"
LOG = "supervise.log"

_PAUSE = 0.02
#: What of its caller's environment a supervisor keeps: where registries, credentials and proxies are.
_KEPT = ("PATH", "HOME", "PYTHONPATH", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "LANG")
_KEPT_PREFIXES = ("CONTAINERS_", "ORLOP_", "SSL_CERT_")
_KEPT_SUFFIXES = ("_PROXY", "_proxy")


async def running(node: Node) -> int:
    """The supervisor's process ID, 0 where none answers."""
    with contextlib.suppress(NotRunning):
        return int((await call(node, "ping"))["pid"])
    return 0


async def ensure_running(node: Node) -> int:
    """A supervisor runs and answers afterwards; returns its process ID. Two callers at once get the same one.

    Raises Unavailable with its last words where it does not start.
    """
    child: process.Child | None = None
    async with _patience(node):
        while not (pid := await running(node)):
            if child is None:
                child = await asyncio.to_thread(_spawn, node)
            elif child.poll() is not None and child.returncode != 0 and not await running(node):
                if not _held(node):
                    raise Unavailable(
                        "the supervisor", f"ended at once: {_last_words(node)}", hint=_hint(node)
                    )
                child = None  # it met another that was just ending or just starting
            await asyncio.sleep(_PAUSE)
    return pid


async def stop(node: Node) -> bool:
    """No supervisor runs afterwards; containers go on running. False: none ran."""
    try:
        await call(node, "stop")
    except NotRunning:
        if not _held(node):
            return False
    async with _patience(node):
        while _held(node):  # noqa: ASYNC110 (another process holds it)
            await asyncio.sleep(_PAUSE)
    return True


def command(node: Node) -> tuple[str, ...]:
    """How a supervisor that `play` needs is started."""
    folders = ("--root", node.root, "--state", node.state, "--config", node.config)
    return (sys.executable, "-m", "orlop", "supervise", "--on-demand", *folders)


@contextlib.asynccontextmanager
async def _patience(node: Node) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limits.SUPERVISOR_START):
            yield
    except TimeoutError as error:
        cause = f"no end of waiting after {limits.SUPERVISOR_START:g} s"
        raise TimedOut("the supervisor", cause, hint=_hint(node)) from error


def _spawn(node: Node) -> process.Child:
    os.makedirs(node.state, mode=0o711, exist_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    log = os.open(node.in_state(LOG), flags, 0o600)
    try:
        if os.fstat(log).st_size > limits.SUPERVISOR_LOG:
            os.ftruncate(log, 0)
        return process.spawn(command(node), env=_environment(), stderr=log)
    finally:
        os.close(log)


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.endswith(_KEPT_SUFFIXES)
    }
    return {**process.MINIMAL_ENV, **kept, "GRPC_ENABLE_FORK_SUPPORT": "0"}


def _held(node: Node) -> bool:
    with locks.attempt(node.in_state(LOCK)) as free:
        return not free


def _last_words(node: Node) -> str:
    with contextlib.suppress(FileNotFoundError), open(node.in_state(LOG), "rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(stream.tell() - 1000, 0))
        return stream.read().decode(errors="replace").strip() or "it said nothing"
    return "it said nothing"


def _hint(node: Node) -> str:
    return f"see {node.in_state(LOG)}, or run: orlop supervise"
