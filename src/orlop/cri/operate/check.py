"""`orlop serve --check-config`: everything that is wrong with the configuration; starts nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from orlop.cri import socket
from orlop.cri.operate.reload import SECTIONS
from orlop.cri.operate.settings import TracingSettings
from orlop.cri.settings import CriSettings
from orlop.cri.streaming.server import context
from orlop.cri.streaming.settings import StreamingSettings
from orlop.kit.config import Config
from orlop.kit.errors import InvalidInput, NotFound, OrlopError
from orlop.kit.node import Node
from orlop.kit.process import MINIMAL_ENV
from orlop.network import conflist
from orlop.network.builtin import registry
from orlop.network.settings import NetworkSettings
from orlop.runtime.engine import Engine, RuntimeSettings

_MANAGERS = ("cgroupfs", "systemd")


def check(node: Node, load: Callable[[], Config], listen: str = "") -> list[OrlopError]:
    """Every problem, in the order of the sections; nothing is changed. Files that do not parse are the only
    problem that there is."""
    try:
        config = load()
    except OrlopError as error:
        return [error]
    problems: list[OrlopError] = []
    right: dict[str, object] = {}
    for name, schema in SECTIONS.items():
        try:
            right[name] = config.section(name, schema)
        except OrlopError as error:
            problems.append(error)
    looks: list[Callable[[], object]] = [_registries]
    cri, streaming, network = right.get("cri"), right.get("streaming"), right.get("network")
    runtime, tracing = right.get("runtime"), right.get("tracing")
    if isinstance(cri, CriSettings):
        looks += [lambda: _socket(node, cri, listen), lambda: socket.validate(cri)]
    if isinstance(streaming, StreamingSettings):
        looks += [
            lambda path=path: _readable("[streaming]", path)  # type: ignore[misc]
            for path in _files(streaming)
        ]
        looks.append(lambda: _certificate(streaming))
    if isinstance(network, NetworkSettings):
        looks.append(lambda: _network(network))
    if isinstance(runtime, RuntimeSettings):
        looks += [
            lambda: _runtime(node, runtime),
            lambda: _program("[runtime] conmon", runtime.conmon, ("/usr/libexec/podman",)),
            lambda: _manager(runtime),
        ]
    if isinstance(tracing, TracingSettings) and tracing.endpoint:
        looks.append(_tracing)
    for look in looks:
        try:
            look()
        except OrlopError as error:
            problems.append(error)
    return problems


def _socket(node: Node, settings: CriSettings, listen: str) -> None:
    path = socket.path_of(listen or settings.listen, node)
    folder = os.path.dirname(path)
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InvalidInput(path, f"{folder} is no folder", hint="choose another path")
    if os.path.exists(folder):
        socket.check_folder(folder)


def _registries() -> None:
    from orlop.image.registries.load import load

    load()


def _network(settings: NetworkSettings) -> None:
    if not settings.config_dir:
        return
    network = conflist.load(settings.config_dir, settings.name)
    for plugin in network.plugins:
        if registry.serves(plugin, settings.builtin):
            continue
        _plugin(str(plugin["type"]), settings.plugin_dirs, network.source)
        ipam = plugin.get("ipam")
        if isinstance(ipam, dict) and ipam.get("type"):
            _plugin(str(ipam["type"]), settings.plugin_dirs, network.source)


def _plugin(name: str, folders: tuple[str, ...], source: str) -> None:
    if not any(os.access(f"{folder}/{name}", os.X_OK) for folder in folders):
        raise NotFound(
            f"CNI plugin {name}",
            f"is named by {source} and is in none of {', '.join(folders)}",
            hint="install it, or correct [network] plugin_dirs",
        )


def _runtime(node: Node, settings: RuntimeSettings) -> None:
    from orlop.runtime.features import find

    find(settings.path)
    for handler in Engine(node, settings).handlers.values():
        find(handler.program)


def _program(where: str, name: str, more: tuple[str, ...]) -> None:
    if shutil.which(name, path=":".join((MINIMAL_ENV["PATH"], *more))) is None:
        raise NotFound(f"{where} {name}", "no such program", hint="install it, or name another")


def _manager(settings: RuntimeSettings) -> None:
    if settings.cgroup_manager not in _MANAGERS:
        raise InvalidInput(
            f"[runtime] cgroup_manager {settings.cgroup_manager!r}",
            "is no cgroup manager",
            hint=f"one of {', '.join(_MANAGERS)}",
        )
    if settings.cgroup_manager == "systemd" and not os.path.isdir("/run/systemd/system"):
        raise InvalidInput(
            "[runtime] cgroup_manager 'systemd'", "systemd does not run here", hint="use cgroupfs"
        )


def _readable(where: str, path: str) -> None:
    if path and not os.access(path, os.R_OK):
        raise NotFound(f"{where} {path}", "cannot be read", hint="see that the file is there")


def _files(settings: StreamingSettings) -> tuple[str, ...]:
    return tuple(filter(None, (settings.tls_cert, settings.tls_key, settings.tls_ca)))


def _certificate(settings: StreamingSettings) -> None:
    if settings.tls and all(os.access(path, os.R_OK) for path in _files(settings)):
        context(settings)


def _tracing() -> None:
    try:
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:  # a distribution may leave it out
        raise NotFound("[tracing]", f"needs {error.name}", hint="install opentelemetry-sdk") from error
