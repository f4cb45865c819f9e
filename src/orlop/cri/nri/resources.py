"""Limits in three forms: ours, the OCI runtime-spec's, and NRI's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.runtime.model import Resources
from orlop.runtime.spec.resources import limited

_MEMORY = {
    "limit": "limit",
    "reservation": "reservation",
    "swap": "swap",
    "kernel": "kernel",
    "kernelTCP": "kernel_tcp",
    "swappiness": "swappiness",
    "disableOOMKiller": "disable_oom_killer",
    "useHierarchy": "use_hierarchy",
}
_CPU = {
    "shares": "shares",
    "quota": "quota",
    "period": "period",
    "realtimeRuntime": "realtime_runtime",
    "realtimePeriod": "realtime_period",
}


def message(resources: Resources) -> pb.LinuxResources:
    """Ours as NRI's."""
    return from_oci(limited(resources, swap=False))


def from_oci(part: Mapping[str, Any]) -> pb.LinuxResources:
    """`linux.resources` of config.json as NRI's."""
    made = pb.LinuxResources(unified=part.get("unified") or {})
    memory, cpu = part.get("memory") or {}, part.get("cpu") or {}
    for name, field in _MEMORY.items():
        if memory.get(name) is not None:
            getattr(made.memory, field).value = memory[name]
    for name, field in _CPU.items():
        if cpu.get(name) is not None:
            getattr(made.cpu, field).value = cpu[name]
    if cpu.get("cpus") or cpu.get("mems"):
        made.cpu.cpus, made.cpu.mems = cpu.get("cpus", ""), cpu.get("mems", "")
    for limit in part.get("hugepageLimits") or ():
        made.hugepage_limits.add(page_size=limit["pageSize"], limit=limit["limit"])
    for rule in part.get("devices") or ():
        device = made.devices.add(
            allow=rule.get("allow", False), type=rule.get("type", ""), access=rule.get("access", "")
        )
        for number in ("major", "minor"):
            if rule.get(number) is not None:
                getattr(device, number).value = rule[number]
    limit = (part.get("pids") or {}).get("limit")
    if limit is not None:
        made.pids.limit = limit
    return made


def changed(resources: Resources, given: pb.LinuxResources) -> Resources:
    """Ours with what is set in NRI's over it; what has no field of ours is in `rest`."""
    values: dict[str, Any] = dict(vars(resources))
    cpu, memory = given.cpu, given.memory
    for name in ("shares", "quota", "period"):
        if cpu.HasField(name) and getattr(cpu, name).value:
            values[f"cpu_{name}"] = getattr(cpu, name).value
    for name in ("cpus", "mems"):
        values[f"cpuset_{name}"] = getattr(cpu, name) or values[f"cpuset_{name}"]
    if memory.limit.value not in (0, resources.memory_limit):
        values["memory_limit"] = memory.limit.value
        values["memory_swap"] = 0  # as much as the memory, unless it is said
    if memory.swap.value:
        values["memory_swap"] = memory.swap.value
    values["memory_request"] = memory.reservation.value or values["memory_request"]
    if given.HasField("pids") and given.pids.limit > 0:
        values["pids"] = given.pids.limit
    values["hugepages"] = {
        **resources.hugepages,
        **{limit.page_size: limit.limit for limit in given.hugepage_limits},
    }
    values["unified"] = {**resources.unified, **given.unified}
    return Resources(**values)


def rest(given: pb.LinuxResources) -> dict[str, Any]:
    """What of NRI's has no field of ours: parts of `linux.resources`."""
    made: dict[str, Any] = {}
    for name in ("kernel", "kernelTCP", "swappiness", "disableOOMKiller", "useHierarchy"):
        if given.memory.HasField(_MEMORY[name]):
            made.setdefault("memory", {})[name] = getattr(given.memory, _MEMORY[name]).value
    for name in ("realtimeRuntime", "realtimePeriod"):
        if given.cpu.HasField(_CPU[name]):
            made.setdefault("cpu", {})[name] = getattr(given.cpu, _CPU[name]).value
    if given.devices:
        made["devices"] = [_rule(device) for device in given.devices]
    return made


def _rule(device: pb.LinuxDeviceCgroup) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": device.allow, "access": device.access}
    if device.type:
        rule["type"] = device.type
    for number in ("major", "minor"):
        if device.HasField(number):
            rule[number] = getattr(device, number).value
    return rule
