"""Plugins that are installed on the machine: found, started with a socket of their own, and ended."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from orlop.cri.nri.plugin import parsed_name
from orlop.kit import limits, process
from orlop.kit.errors import OrlopError, Unsupported
from orlop.kit.files import read_bounded
from orlop.kit.tasks import in_thread
from orlop.kit.value import dataclass

_log = logging.getLogger(__name__)
_WASM = b"\0asm"
_FIRST_BYTES = 4


@dataclass(frozen=True)
class Installed:
    """A plugin's program and the text of its configuration."""

    path: str
    index: str
    base: str
    config: str


def installed(plugins: str, configs: str) -> list[Installed]:
    """The executable files called `NN-name` in the folder, by index; others are logged and left out."""
    try:
        names = sorted(os.listdir(plugins))
    except FileNotFoundError:
        return []
    except OSError as error:
        _log.warning("NRI plugins in %s are left out: %s", plugins, error.strerror)
        return []
    found = []
    for name in names:
        path = os.path.join(plugins, name)
        if not os.path.isfile(path) or not os.access(path, os.X_OK):
            continue
        try:
            index, base = parsed_name(name)
            _check(path)
            found.append(Installed(path, index, base, _config(configs, index, base)))
        except (ValueError, OSError, OrlopError) as error:
            _log.warning("NRI plugin %s is left out: %s", path, error)
    return found


def _check(path: str) -> None:
    with open(path, "rb") as stream:
        if stream.read(_FIRST_BYTES) == _WASM:
            raise Unsupported(path, "is WebAssembly", hint="install a program of this machine")


def _config(folder: str, index: str, base: str) -> str:
    for name in (f"{index}-{base}.conf", f"{base}.conf"):
        try:
            return read_bounded(os.path.join(folder, name), limits.NRI_CONFIG_SIZE).decode()
        except FileNotFoundError:
            continue
    return ""


async def launch(plugin: Installed) -> tuple[process.Child, asyncio.StreamReader, asyncio.StreamWriter]:
    """The running program and our end of its socket. Raises Unsupported."""
    ours, theirs = socket.socketpair()
    with theirs:
        env = {
            "NRI_PLUGIN_NAME": plugin.base,
            "NRI_PLUGIN_IDX": plugin.index,
            "NRI_PLUGIN_SOCKET": str(theirs.fileno()),
        }
        try:
            child = await in_thread(process.spawn, [plugin.path], env=env, pass_fds=[theirs.fileno()])
        except OrlopError:
            ours.close()
            raise
    reader, writer = await asyncio.open_connection(sock=ours)
    return child, reader, writer


async def end(child: process.Child) -> None:
    """It has ended afterwards: of itself, since its socket is closed, or by force."""
    try:
        await in_thread(child.wait, limits.NRI_SHUTDOWN)
    except OrlopError:
        child.kill()
        await in_thread(child.wait)
