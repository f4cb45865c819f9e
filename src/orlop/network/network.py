"""Pods onto the network and off it again: the only door of this package."""

from __future__ import annotations

import contextlib
import os
import time

from orlop.kit import files, limits, locks
from orlop.kit.errors import Conflict, InvalidInput, NotFound, OrlopError, TimedOut, Unavailable
from orlop.kit.node import Node, boot_id
from orlop.network import chain, conflist, plugin, results, versions
from orlop.network.default import (
    DefaultNetwork,
    forget_host_ports,
    machine,
    note_host_ports,
    using_host_ports,
)
from orlop.network.model import Addresses, Attachment
from orlop.network.records import Record, Records
from orlop.network.settings import NetworkSettings

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import Any

_DEFAULTS = NetworkSettings()
_LOCKS = 64  # attachments share these; a file each would stay for ever


class Network:
    """The pod network of one node. Making one does nothing; methods are thread-safe, in many processes."""

    def __init__(self, node: Node, settings: NetworkSettings = _DEFAULTS) -> None:
        self._node = node
        self._settings = settings
        self._records = Records(node.in_root("network", "attachments"))
        self._default = DefaultNetwork(node, settings)

    def add(self, attachment: Attachment) -> Addresses:
        """Attach a pod; asked twice with the same namespace, the addresses that it has.

        Raises InvalidInput, Conflict (a host port is taken), NotFound (a plugin, the namespace),
        Unsupported (versions) and PluginFailed. After an error nothing is attached; where even the DEL that
        follows a failed ADD failed, the record stays, and `collect` goes on.
        """
        record = self._requested(attachment)
        with self._locked(attachment.id):
            for old in self._records.of(attachment.id):
                if old.interface != attachment.interface:
                    continue
                if old.result is not None and not old.deleting and old.instance == record.instance:
                    return results.addresses(old.result, old.interface)
                self._delete(old)  # an ADD that was cut off, or for a namespace that is gone
            record = self._with_network(record, attachment)
            if not attachment.ports:
                self._records.write(record)
                return self._add(record)
            with using_host_ports() as using:
                self._reserve(record)
                return self._add(record, using)

    def delete(self, pod_id: str, *, going: bool = False) -> None:
        """Detach a pod, as it was recorded; a pod that is not attached is fine.

        `going`: the caller removes the pod's namespace next. What is built in then leaves its interface, bare
        of addresses, to go with it: deleting a link waits 10 ms for the kernel. Each failing plugin is asked
        limits.CNI_ATTEMPTS times. Raises PluginFailed after that; the record stays, marked, and `collect`
        goes on.
        """
        with self._locked(pod_id):
            for record in reversed(self._records.of(pod_id)):
                self._delete(record, going=going)

    def check(self, pod_id: str) -> None:
        """Raises PluginFailed where the pod's network is not as ADD made it, NotFound where it has none."""
        with self._locked(pod_id):
            records = self._records.of(pod_id)
            if not any(record.result is not None and not record.deleting for record in records):
                raise NotFound(f"pod {pod_id}", "is attached to no network", hint="start the pod anew")
            for record in records:
                chain.Chain(record, self._settings.plugin_dirs).check()

    def pending(self) -> list[Record]:
        """Everything that is recorded: attached, or still to be detached."""
        return self._records.all()

    def status(self) -> None:
        """Raises PluginFailed where the network could not serve a pod now (plugins of version 1.1.0 say)."""
        network = self._network(ports=False)
        chain.status(
            network.as_json(self._version(network)), self._settings.plugin_dirs, self._settings.builtin
        )

    def collect(self, live: Collection[str] | Callable[[], Collection[str]]) -> list[str]:
        """Detach what no pod in `live` has any more, and what a failed DEL left. Returns the pods' IDs.

        Where pods may start meanwhile, give a function: it is called after the records were read, so that a
        pod known before its ADD is never mistaken. Addresses without a record are given back; plugins that
        know GC (1.1.0) are told what is left. Raises the first failure after everything was tried.
        """
        records = self._records.all()
        known = set(live() if callable(live) else live)
        failures: list[OrlopError] = []
        gone = []
        for record in records:
            if record.id in known and not record.deleting:
                continue
            try:
                with self._locked(record.id):
                    for again in self._records.of(record.id):
                        if again == record:
                            self._delete(again)
                            gone.append(record.id)
            except OrlopError as error:
                failures.append(error)
        self._collect_leases()
        try:
            self._collect_plugins()
        except OrlopError as error:
            failures.append(error)
        if failures:
            raise failures[0]
        return gone

    def teardown(self) -> None:
        """Remove the own network: bridge, rules, leases. Nothing to remove is fine.

        Raises Conflict while a pod is attached.
        """
        attached = self._records.all()
        if attached:
            names = ", ".join(sorted({record.pod or record.id for record in attached}))
            raise Conflict(
                f"network {self._default.bridge}", f"is in use by {names}", hint="remove those pods first"
            )
        self._default.remove()
        forget_host_ports()

    def _requested(self, attachment: Attachment) -> Record:
        """The record of a request, still without its network. Raises InvalidInput, NotFound."""
        if not conflist.is_identifier(attachment.id):
            raise InvalidInput(
                f"pod ID {attachment.id!r}", "is not letters, digits, '_', '.' and '-'", hint="choose another"
            )
        name = attachment.interface
        if not 0 < len(name) < 16 or name in (".", "..") or any(c in "/:" or c.isspace() for c in name):
            raise InvalidInput(f"interface {name!r}", "is not an interface's name", hint="use eth0")
        instance = _instance(attachment.netns)
        if not instance:
            raise NotFound(attachment.netns, "is not a pinned network namespace", hint="start the pod anew")
        pairs = (
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", attachment.namespace),
            ("K8S_POD_NAME", attachment.name),
            ("K8S_POD_INFRA_CONTAINER_ID", attachment.id),
            ("K8S_POD_UID", attachment.uid),
        )
        return Record(
            network="",
            id=attachment.id,
            interface=name,
            netns=attachment.netns,
            config={},
            args=tuple((key, plugin.check_text(key, value)) for key, value in pairs),
            capabilities=_capabilities(attachment),
            instance=instance,
            pod=f"{attachment.namespace}/{attachment.name}",
        )

    def _with_network(self, record: Record, attachment: Attachment) -> Record:
        network = self._network(ports=bool(attachment.ports))
        offered = {
            key for config in network.plugins for key, on in config.get("capabilities", {}).items() if on
        }
        for key in record.capabilities:
            if key not in offered:
                raise InvalidInput(
                    f"pod {record.pod}",
                    f"asks for {key}, which no plugin of network {network.name} offers",
                    hint=f"add a plugin with the capability {key} to {network.source or 'the network'}",
                )
        config = network.as_json(self._version(network))
        return record.having(network=network.name, config=config, builtin=self._settings.builtin)

    def _network(self, *, ports: bool) -> conflist.NetworkList:
        if self._settings.config_dir:
            return conflist.load(self._settings.config_dir, self._settings.name)
        return self._default.network(ports=ports)

    def _version(self, network: conflist.NetworkList) -> str:
        cache = self._node.in_state("network", "versions.json")
        return versions.choose(network, self._settings.plugin_dirs, cache, self._settings.builtin)

    def _reserve(self, record: Record) -> None:
        """Write the record down after seeing that its host ports are free."""
        from orlop.network.ports import check_free

        with machine():
            check_free(record.capabilities["portMappings"], self._records.all(), record.id)
            note_host_ports()
            self._records.write(record)

    def _add(self, record: Record, *inherited: int) -> Addresses:
        try:
            with self._running(record) as running:
                result = chain.Chain(record, self._settings.plugin_dirs, (running, *inherited)).add()
            added = record.having(result=result)
            self._records.write(added)
            return results.addresses(result, record.interface)
        except BaseException:
            with contextlib.suppress(OrlopError):  # the first failure counts; the record stays for `collect`
                self._delete(record)
            raise

    def _delete(self, record: Record, *, going: bool = False) -> None:
        """DEL until it succeeds, limits.CNI_ATTEMPTS times; then the record is gone. The lock is held."""
        self._await_orphans(record)
        pause = limits.CNI_PAUSE
        for attempt in range(1, limits.CNI_ATTEMPTS + 1):
            netns = record.netns if _instance(record.netns) == record.instance else ""
            try:
                with self._running(record) as running:
                    chain.Chain(record, self._settings.plugin_dirs, (running,)).delete(netns, going=going)
                if not netns:
                    _sweep(record)
                break
            except (plugin.PluginFailed, Unavailable):
                if attempt == limits.CNI_ATTEMPTS:
                    self._mark(record)
                    raise
            except OrlopError:
                self._mark(record)
                raise
            time.sleep(pause)
            pause *= 2
        self._records.remove(record)

    def _mark(self, record: Record) -> None:
        if not record.deleting:
            self._records.write(record.having(deleting=True))

    def _collect_leases(self) -> None:
        """Give back addresses of our own network that no record speaks of (a lost or removed record)."""
        folder = os.path.join(self._default.leases, self._default.bridge)
        if not os.path.isdir(folder):
            return
        with locks.hold(os.path.join(folder, "lock")):  # host-local's own
            leases = {name: _lease_owner(os.path.join(folder, name)) for name in os.listdir(folder)}
            known = {record.id for record in self._records.all()}  # read after the leases: ADD records first
            for name, owner in leases.items():
                if owner is not None and owner not in known:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))

    def _collect_plugins(self) -> None:
        if not self._settings.config_dir:
            return  # our own network's leftovers are known without asking
        network = self._network(ports=False)
        valid = [
            (record.id, record.interface) for record in self._records.all() if record.network == network.name
        ]
        settings = self._settings
        chain.collect(network.as_json(self._version(network)), settings.plugin_dirs, settings.builtin, valid)

    @contextlib.contextmanager
    def _locked(self, pod_id: str) -> Iterator[None]:
        """Nobody else attaches or detaches this pod meanwhile (section 3: never in parallel for one)."""
        slot = sum(pod_id.encode()) % _LOCKS
        with locks.hold(self._node.in_state("locks", "network", str(slot))):
            yield

    @contextlib.contextmanager
    def _running(self, record: Record) -> Iterator[int]:
        """A lock that the plugins inherit, so that it outlives us if we are killed while they run."""
        path = self._node.in_state("network", "running", record.file)
        with locks.hold(path) as descriptor:
            try:
                yield descriptor
            finally:
                _unlink(path)

    def _await_orphans(self, record: Record) -> None:
        """Wait for plugins whose Orlop was killed: DEL must not overtake their ADD."""
        path = self._node.in_state("network", "running", record.file)
        if os.path.exists(path):
            with contextlib.suppress(TimedOut), locks.hold(path, timeout=limits.CNI_TIMEOUT):
                pass
            _unlink(path)  # also if a daemon that a plugin started still holds it


def _unlink(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _capabilities(attachment: Attachment) -> dict[str, Any]:
    """What the pod asks for, by the names of CNI's conventions."""
    asked: dict[str, Any] = dict(attachment.capabilities)
    if attachment.ports:
        from orlop.network.ports import mappings

        asked["portMappings"] = mappings(attachment.ports)
    if attachment.ips:
        asked["ips"] = list(attachment.ips)
    if attachment.mac:
        asked["mac"] = attachment.mac
    return asked


def _instance(netns: str) -> str:
    """What tells this namespace from another at the same path; empty where no namespace is there."""
    try:
        status = os.stat(netns)
        if status.st_dev != os.stat("/proc/self/ns/net").st_dev:  # a plain file: its mount is gone
            return ""
    except (OSError, ValueError):
        return ""
    return f"{boot_id()}/{status.st_ino}"


def _sweep(record: Record) -> None:
    """Remove what Debian's plugins leave where the namespace is gone before DEL."""
    from orlop.kit import process
    from orlop.network import rules

    for config in record.config["plugins"]:
        if config.get("ipMasq"):
            rules.remove_masquerade(record.network, record.id)
    for interface in (record.result or {}).get("interfaces") or ():
        name = str(interface.get("name", ""))
        if (
            name.startswith("veth")
            and not interface.get("sandbox")
            and os.path.exists(f"/sys/class/net/{name}")
        ):
            process.run(("ip", "link", "delete", name), check=False)


def _lease_owner(path: str) -> str | None:
    """The container ID in a lease of host-local, "" where it was killed before it wrote one; None for its
    other files."""
    name = os.path.basename(path)
    if not name[:1].isdigit() and ":" not in name:
        return None
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return files.read_bounded(path, limits.CNI_FILE_SIZE).decode().split("\n")[0].strip()
    return None
