"""What several plugins want of one container, put together in the order of their indices.

Each plugin sees the container as those before it left it. A name with "-" before it is removed; who removes
what another has set may set it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping, MutableSequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from orlop.cri.nri.errors import PluginRefused
from orlop.cri.nri.owners import Owners
from orlop.cri.nri.proto import nri_pb2 as pb

_M = TypeVar("_M", bound=Message)

_MEMORY = {
    "limit": pb.MemLimit,
    "reservation": pb.MemReservation,
    "swap": pb.MemSwapLimit,
    "kernel": pb.MemKernelLimit,
    "kernel_tcp": pb.MemTCPLimit,
    "swappiness": pb.MemSwappiness,
    "disable_oom_killer": pb.MemDisableOomKiller,
    "use_hierarchy": pb.MemUseHierarchy,
}
_CPU = {
    "shares": pb.CPUShares,
    "quota": pb.CPUQuota,
    "period": pb.CPUPeriod,
    "realtime_runtime": pb.CPURealtimeRuntime,
    "realtime_period": pb.CPURealtimePeriod,
    "cpus": pb.CPUSetCPUs,
    "mems": pb.CPUSetMems,
}
_CLASSES = {"blockio_class": pb.BlockioClass, "rdt_class": pb.RdtClass, "pids": pb.PidsLimit}
_WHOLE = {
    "cgroups_path": pb.CgroupsPath,
    "oom_score_adj": pb.OomScoreAdj,
    "io_priority": pb.IoPriority,
    "seccomp_policy": pb.SeccompPolicy,
    "scheduler": pb.LinuxSched,
    "memory_policy": pb.MemoryPolicy,
}
_RDT = {"clos_id": pb.RdtClosID, "schemata": pb.RdtSchemata, "enable_monitoring": pb.RdtEnableMonitoring}
STAGES = ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop")


def unmarked(name: str) -> tuple[str, bool]:
    """The name without its mark of removal, and whether it had one."""
    return (name[1:], True) if name.startswith("-") else (name, False)


class Updates:
    """What plugins want of other containers, or of the one whose update is asked for."""

    def __init__(self, owners: Owners, *, creating: str = "") -> None:
        self._owners = owners
        self._creating = creating
        self._found: dict[str, pb.ContainerUpdate] = {}
        self.evict: list[pb.ContainerEviction] = []

    def requested(self, container: str, resources: pb.LinuxResources) -> None:
        """The update of `container` is what was asked for: plugins change it."""
        self._found[container] = pb.ContainerUpdate(
            container_id=container, linux=pb.LinuxContainerUpdate(resources=resources)
        )

    def add(self, given: Iterable[pb.ContainerUpdate], plugin: str) -> None:
        """Raises PluginsClash, except in updates that may fail, and PluginRefused."""
        for update in given:
            if update.container_id == self._creating:
                raise PluginRefused(
                    f"container {update.container_id[:12]}",
                    f"the plugin {plugin} asks to update it while it is made",
                    hint="have the plugin adjust it",
                )
            self._add(update, plugin)

    def of(self, container: str) -> pb.LinuxResources:
        return self._found[container].linux.resources

    def others(self, container: str = "") -> list[pb.ContainerUpdate]:
        return [update for name, update in self._found.items() if name != container]

    def _add(self, update: pb.ContainerUpdate, plugin: str) -> None:
        held = self._found.get(update.container_id)
        if held is None:
            held = self._found[update.container_id] = pb.ContainerUpdate(
                container_id=update.container_id, ignore_failure=update.ignore_failure
            )
        held.ignore_failure = held.ignore_failure and update.ignore_failure
        changed = pb.LinuxResources()  # a copy: an update that clashes and may fail changes nothing
        changed.CopyFrom(held.linux.resources)
        try:
            _set_resources(self._owners, update.container_id, update.linux.resources, plugin, changed)
        except Exception:
            if update.ignore_failure:
                return
            raise
        held.linux.resources.CopyFrom(changed)


class Adjustments:
    """What plugins want of a container that is being made. `container` is what the next one is shown."""

    def __init__(self, container: pb.Container) -> None:
        self.container = pb.Container()
        self.container.CopyFrom(container)
        self.adjust = pb.ContainerAdjustment()
        self.owners = Owners()
        self.updates = Updates(self.owners, creating=container.id)
        self._id = container.id

    def add(self, given: pb.ContainerAdjustment, plugin: str) -> None:
        """Raises PluginsClash."""
        shown, made = self.container, self.adjust
        self._mapping(pb.Annotations, given.annotations, made.annotations, shown.annotations, plugin)
        self._list(pb.Mounts, given.mounts, made.mounts, shown.mounts, "destination", plugin)
        self._environment(given.env, plugin)
        self._arguments(given.args, plugin)
        if any(len(getattr(given.hooks, stage)) for stage in STAGES):
            made.hooks.MergeFrom(given.hooks)
            shown.hooks.MergeFrom(given.hooks)
            self.owners.add(self._id, pb.OciHooks, plugin)
        for limit in given.rlimits:
            self.owners.claim(self._id, pb.Rlimits, plugin, limit.type)
            made.rlimits.append(limit)
            shown.rlimits.append(limit)
        for device in given.CDI_devices:
            self.owners.claim(self._id, pb.CdiDevices, plugin, device.name)
            made.CDI_devices.append(device)
        if given.HasField("linux"):
            self._linux(given.linux, plugin)

    def _linux(self, given: pb.LinuxContainerAdjustment, plugin: str) -> None:
        shown, made = self.container.linux, self.adjust.linux
        self._list(pb.Devices, given.devices, made.devices, shown.devices, "path", plugin)
        if given.HasField("resources"):
            _set_resources(self.owners, self._id, given.resources, plugin, made.resources, shown.resources)
            made.resources.devices.extend(given.resources.devices)
            shown.resources.devices.extend(given.resources.devices)
        for name, field in _WHOLE.items():
            if _is_set(given, name):
                self.owners.claim(self._id, field, plugin)
                _set(given, name, made)
                if name in shown.DESCRIPTOR.fields_by_name:
                    _set(given, name, shown)
        self._namespaces(given.namespaces, plugin)
        self._mapping(pb.Sysctl, given.sysctl, made.sysctl, shown.sysctl, plugin)
        self._net_devices(given.net_devices, plugin)
        if given.HasField("rdt"):
            self._rdt(given.rdt, plugin)

    def _mapping(
        self,
        field: int,
        given: Mapping[str, str],
        made: MutableMapping[str, str],
        shown: MutableMapping[str, str],
        plugin: str,
    ) -> None:
        for key in (key[1:] for key in given if key.startswith("-")):
            self.owners.clear(self._id, field, plugin, key)
            made.pop(key, None)
            shown.pop(key, None)
            made[f"-{key}"] = ""
        for key, value in given.items():
            if not key.startswith("-"):
                self.owners.claim(self._id, field, plugin, key)
                made[key] = shown[key] = value

    def _net_devices(self, given: Mapping[str, pb.LinuxNetDevice], plugin: str) -> None:
        shown, made = self.container.linux.net_devices, self.adjust.linux.net_devices
        for key in (key[1:] for key in given if key.startswith("-")):
            self.owners.clear(self._id, pb.LinuxNetDevices, plugin, key)
            for devices in (made, shown):
                if key in devices:
                    del devices[key]
            made[f"-{key}"].CopyFrom(pb.LinuxNetDevice())
        for key, value in given.items():
            if not key.startswith("-"):
                self.owners.claim(self._id, pb.LinuxNetDevices, plugin, key)
                made[key].CopyFrom(value)
                shown[key].CopyFrom(value)

    def _list(
        self,
        field: int,
        given: Iterable[_M],
        made: MutableSequence[_M],
        shown: MutableSequence[_M],
        key: str,
        plugin: str,
    ) -> None:
        """Messages that are known by one of their fields, `key`."""
        adding, removing = _split(given, key)
        for name in removing:
            self.owners.clear(self._id, field, plugin, name)
        _drop(made, key, removing.keys())
        _drop(shown, key, {*removing, *adding})
        made.extend(message for name, message in removing.items() if name not in adding)
        for name, message in adding.items():
            self.owners.claim(self._id, field, plugin, name)
            _drop(made, key, {f"-{name}"})
            made.append(message)
            shown.append(message)

    def _environment(self, given: Iterable[pb.KeyValue], plugin: str) -> None:
        adding, removing = _split(given, "key")
        made = self.adjust.env
        for name in removing:
            self.owners.clear(self._id, pb.Env, plugin, name)
        _drop(made, "key", removing.keys())
        changed = {*removing, *adding}
        shown = [entry for entry in self.container.env if entry.partition("=")[0] not in changed]
        made.extend(message for name, message in removing.items() if name not in adding)
        for name, message in adding.items():
            self.owners.claim(self._id, pb.Env, plugin, name)
            _drop(made, "key", {f"-{name}"})
            made.append(message)
            shown.append(f"{name}={message.value}")
        self.container.env[:] = shown

    def _arguments(self, given: Iterable[str], plugin: str) -> None:
        """An empty first argument takes back what another plugin set."""
        arguments = list(given)
        if not arguments:
            return
        if arguments[0] == "":
            self.owners.clear(self._id, pb.Args, plugin)
            del arguments[0]
        self.owners.claim(self._id, pb.Args, plugin)
        self.adjust.args[:] = arguments
        self.container.args[:] = arguments

    def _namespaces(self, given: Iterable[pb.LinuxNamespace], plugin: str) -> None:
        for namespace in given:
            kind, removed = unmarked(namespace.type)
            self.owners.claim(self._id, pb.Namespace, plugin, kind)
            _drop(self.container.linux.namespaces, "type", {kind})
            if not removed:
                self.container.linux.namespaces.append(namespace)
            self.adjust.linux.namespaces.append(namespace)

    def _rdt(self, given: pb.LinuxRdt, plugin: str) -> None:
        made = self.adjust.linux.rdt
        if given.remove:
            for field in _RDT.values():
                self.owners.clear(self._id, field, plugin)
            made.CopyFrom(pb.LinuxRdt(remove=True))
        for name, field in _RDT.items():
            if given.HasField(name):
                self.owners.claim(self._id, field, plugin)
                _set(given, name, made)


def _set_resources(
    owners: Owners, container: str, given: pb.LinuxResources, plugin: str, *targets: pb.LinuxResources
) -> None:
    """Lay what is set in `given` over each of `targets`."""

    def each(
        part: Message, fields: Mapping[str, int], inside: Callable[[pb.LinuxResources], Message]
    ) -> None:
        for name, field in fields.items():
            if _is_set(part, name):
                owners.claim(container, field, plugin)
                for target in targets:
                    _set(part, name, inside(target))

    each(given.memory, _MEMORY, lambda target: target.memory)
    each(given.cpu, _CPU, lambda target: target.cpu)
    each(given, _CLASSES, lambda target: target)
    for limit in given.hugepage_limits:
        owners.claim(container, pb.HugepageLimits, plugin, limit.page_size)
        for target in targets:
            _drop(target.hugepage_limits, "page_size", {limit.page_size})
            target.hugepage_limits.append(limit)
    for name, value in given.unified.items():
        owners.claim(container, pb.CgroupsUnified, plugin, name)
        for target in targets:
            target.unified[name] = value


def _split(given: Iterable[_M], key: str) -> tuple[dict[str, _M], dict[str, _M]]:
    """Those to add and those to remove, by name; the last of a name counts."""
    adding: dict[str, _M] = {}
    removing: dict[str, _M] = {}
    for message in given:
        name, removed = unmarked(getattr(message, key))
        (removing if removed else adding)[name] = message
    return adding, removing


def _drop(messages: MutableSequence[Any], key: str, names: Iterable[str]) -> None:
    gone = set(names)
    kept = [message for message in messages if getattr(message, key) not in gone]
    if len(kept) != len(messages):
        del messages[:]
        messages.extend(kept)


def _is_set(message: Message, name: str) -> bool:
    if message.DESCRIPTOR.fields_by_name[name].message_type is not None:
        return message.HasField(name)
    return bool(getattr(message, name))


def _set(source: Message, name: str, target: Message) -> None:
    value = getattr(source, name)
    if isinstance(value, Message):
        getattr(target, name).CopyFrom(value)
        getattr(target, name).SetInParent()  # a zero that was said is not the same as nothing
    else:
        setattr(target, name, value)
