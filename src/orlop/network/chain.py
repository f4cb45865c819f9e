"""A chain of plugins: ADD, DEL, CHECK, STATUS and GC over a network's list (CNI 1.1.0, section 3)."""

from __future__ import annotations

from orlop.network import plugin
from orlop.network.builtin import registry
from orlop.network.builtin.call import Call
from orlop.network.conflist import order
from orlop.network.records import Record
from orlop.network.results import converted

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class Chain:
    """A recorded attachment and the means to run its list. Plugins keep the descriptors `running` open."""

    def __init__(self, record: Record, folders: Sequence[str], running: Sequence[int] = ()) -> None:
        self._record = record
        self._folders = folders
        self._inherited = running
        self._list = record.config
        self._version = str(self._list["cniVersion"])

    def add(self) -> dict[str, Any]:
        """Every plugin in order, each given what the one before returned. The last one's result."""
        result: dict[str, Any] | None = None
        for config in self._list["plugins"]:
            given = self._run("ADD", config, result)
            if given:  # a plugin without a result of its own passes the previous one on by printing nothing
                result = converted(given, self._version)
        return result or {"cniVersion": self._version}

    def delete(self, netns: str, *, going: bool = False) -> None:
        """Every plugin in reverse. `netns` empty: the namespace is gone, plugins give back what they can.

        `going`: the caller removes the namespace next.
        """
        for config in reversed(self._list["plugins"]):
            self._run("DEL", config, self._previous("0.4.0"), netns=netns, going=going)

    def check(self) -> None:
        """Every plugin in order; nothing where the list disables it or is older than CHECK."""
        if self._list.get("disableCheck") or order(self._version) < order("0.4.0"):
            return
        for config in self._list["plugins"]:
            try:
                self._run("CHECK", config, self._previous("0.4.0"))
            except plugin.PluginFailed as error:
                if not self._slip(config, error):
                    raise

    def _slip(self, config: dict[str, Any], error: plugin.PluginFailed) -> bool:
        """Whether this is portmap 1.1's own mistake: it looks for IPv6 rules of pods without IPv6."""
        ips = (self._record.result or {}).get("ips") or ()
        return (
            config["type"] == "portmap"
            and "ipv6" in error.cause
            and not any(":" in str(ip.get("address")) for ip in ips)
        )

    def _previous(self, since: str) -> dict[str, Any] | None:
        return self._record.result if order(self._version) >= order(since) else None

    def _run(
        self,
        command: str,
        config: dict[str, Any],
        previous: dict[str, Any] | None,
        *,
        netns: str | None = None,
        going: bool = False,
    ) -> dict[str, Any]:
        record = self._record
        request = derived(self._list, config, record.capabilities, previous)
        where = record.netns if netns is None else netns
        if registry.serves(config, record.builtin):
            call = Call(command, request, record.id, where, record.interface, dict(record.args), going)
            return registry.call(call)
        path = plugin.find(config["type"], self._folders)
        env = plugin.environment(
            command,
            self._folders,
            pod_id=record.id,
            netns=where,
            interface=record.interface,
            args=";".join(f"{key}={value}" for key, value in record.args),
        )
        return plugin.execute(path, env, request, inherited=self._inherited)


def derived(
    network: Mapping[str, Any],
    config: Mapping[str, Any],
    asked: Mapping[str, Any],
    previous: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The execution configuration: section 3, "Deriving execution configuration"."""
    request = {key: value for key, value in config.items() if key not in ("capabilities", "runtimeConfig")}
    request["cniVersion"] = network["cniVersion"]
    request["name"] = network["name"]
    granted = config.get("capabilities", {})
    runtime = {key: value for key, value in asked.items() if granted.get(key)}
    if runtime:
        request["runtimeConfig"] = runtime
    if previous is not None:
        request["prevResult"] = previous
    return request


def status(network: Mapping[str, Any], folders: Sequence[str], builtin: Sequence[str]) -> None:
    """Ask every executed plugin whether it could serve an ADD; nothing before version 1.1.0."""
    _each(network, folders, builtin, "STATUS", {})


def collect(
    network: Mapping[str, Any],
    folders: Sequence[str],
    builtin: Sequence[str],
    valid: Sequence[tuple[str, str]],
) -> None:
    """Tell every executed plugin which (container ID, interface) pairs are left; nothing before 1.1.0."""
    if network.get("disableGC"):
        return
    attachments = [{"containerID": pod_id, "ifname": interface} for pod_id, interface in valid]
    keys = ("cni.dev/valid-attachments", "cni.dev/attachments")  # the second is a slip of 1.1.0's first text
    _each(network, folders, builtin, "GC", dict.fromkeys(keys, attachments))


def _each(
    network: Mapping[str, Any],
    folders: Sequence[str],
    builtin: Sequence[str],
    command: str,
    extra: Mapping[str, Any],
) -> None:
    if order(str(network["cniVersion"])) < order("1.1.0"):
        return
    for config in network["plugins"]:
        if registry.serves(config, builtin):
            continue  # as the programs: they know neither
        path = plugin.find(config["type"], folders)
        request = {**derived(network, config, {}), **extra}
        plugin.execute(path, plugin.environment(command, folders), request)
