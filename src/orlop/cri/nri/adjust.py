"""What plugins want of a new container, carried out on what the runtime is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from orlop.cri.nri import resources
from orlop.cri.nri.collect import STAGES, unmarked
from orlop.cri.nri.errors import BadAdjustment
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.runtime.cdi import apply
from orlop.runtime.model import ContainerSpec, Device, Hook, Mount, Namespaces

_NAMESPACES = ("network", "ipc", "uts", "pid", "cgroup", "user")
_PROPAGATIONS = ("rprivate", "rslave", "rshared", "private", "slave", "shared")
_BIND = ("bind", "rbind")
_INFINITY = 2**63  # of a limit: what is not less is RLIM_INFINITY
_READ, _WRITE = 0o444, 0o222


def adjusted(spec: ContainerSpec, asked: pb.ContainerAdjustment, cdi: tuple[str, ...]) -> ContainerSpec:
    """The specification with the adjustment; `cdi` are the folders of devices' descriptions.

    Raises BadAdjustment, and what `cdi.apply` raises.
    """
    spec = apply.apply(spec, tuple(device.name for device in asked.CDI_devices), cdi)
    linux = asked.linux
    limits = linux.resources
    if limits.blockio_class.value:
        raise _bad(
            spec, f"block I/O class {limits.blockio_class.value}", "no such classes are configured here"
        )
    process = dataclasses.replace(
        spec.process,
        env=_environment(spec.process.env, asked.env),
        args=tuple(asked.args) or spec.process.args,
    )
    changed = resources.changed(spec.resources, limits)
    if linux.HasField("oom_score_adj"):
        changed = dataclasses.replace(changed, oom_score_adj=linux.oom_score_adj.value)
    mounts = [mount for mount in spec.mounts if _place(mount.destination) not in _touched(asked.mounts)]
    return dataclasses.replace(
        spec,
        process=process,
        resources=changed,
        annotations=_mapping(spec.annotations, asked.annotations),
        sysctls=_mapping(spec.sysctls, linux.sysctl),
        rlimits={
            **spec.rlimits,
            **{limit.type: (_limit(limit.soft), _limit(limit.hard)) for limit in asked.rlimits},
        },
        hooks=spec.hooks + tuple(_hooks(spec, asked.hooks)),
        devices=_devices(spec, linux.devices),
        mounts=(*mounts, *(_mount(mount) for mount in asked.mounts if not unmarked(mount.destination)[1])),
        without_mounts=spec.without_mounts
        + tuple(_place(mount.destination[1:]) for mount in asked.mounts if unmarked(mount.destination)[1]),
        namespaces=_namespaces(spec, linux.namespaces),
        cgroup=_cgroup(spec, linux.cgroups_path),
        extra=_extra(spec.extra, linux),
    )


def _mapping(held: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str]:
    made = {key: value for key, value in held.items() if f"-{key}" not in asked}
    made.update({key: value for key, value in asked.items() if not key.startswith("-")})
    return made


def _environment(held: tuple[str, ...], asked: Iterable[pb.KeyValue]) -> tuple[str, ...]:
    made = dict(entry.partition("=")[::2] for entry in held)
    for variable in asked:
        name, removed = unmarked(variable.key)
        if removed:
            made.pop(name, None)
        else:
            made[name] = variable.value
    return tuple(f"{name}={value}" for name, value in made.items())


def _limit(value: int) -> int:
    return value if value < _INFINITY else -1


def _hooks(spec: ContainerSpec, asked: pb.Hooks) -> Iterable[Hook]:
    for stage in STAGES:
        first, *rest = stage.split("_")
        for hook in getattr(asked, stage):
            if not hook.path.startswith("/"):
                raise _bad(spec, f"{stage} hook {hook.path}", "is no absolute path")
            name = first + "".join(word.capitalize() for word in rest)
            yield Hook(name, hook.path, tuple(hook.args), tuple(hook.env), hook.timeout.value)


def _devices(spec: ContainerSpec, asked: Iterable[pb.LinuxDevice]) -> tuple[Device, ...]:
    made = {device.path or device.host_path: device for device in spec.devices}
    for device in asked:
        path, removed = unmarked(device.path)
        made.pop(path, None)
        if removed:
            continue
        mode = device.file_mode.value & 0o7777 if device.HasField("file_mode") else None
        read = mode is None or mode & _READ
        write = mode is None or mode & _WRITE
        owner = (device.uid.value, device.gid.value)
        made[path] = Device(
            host_path=path,
            path=path,
            permissions=("r" if read else "") + ("w" if write else "") + ("m" if device.type == "b" else "")
            or "m",
            kind=device.type,
            major=device.major,
            minor=device.minor,
            mode=mode,
            owner=owner if device.HasField("uid") or device.HasField("gid") else None,
        )
    return tuple(made.values())


def _touched(asked: Iterable[pb.Mount]) -> set[str]:
    return {_place(unmarked(mount.destination)[0]) for mount in asked}


def _place(path: str) -> str:
    return "/" + path.strip("/")


def _mount(asked: pb.Mount) -> Mount:
    """A bind mount in our words; a mount of any other type as it stands."""
    options = list(asked.options)
    if asked.type not in ("", "none", *_BIND) and not set(options) & set(_BIND):
        return Mount(asked.destination, asked.source, kind=asked.type, options=tuple(options))
    propagation = [option for option in options if option in _PROPAGATIONS]
    known = {"ro", "rw", *_BIND, *_PROPAGATIONS}
    return Mount(
        destination=asked.destination,
        source=asked.source,
        read_only="ro" in options,
        propagation=propagation[-1] if propagation else "rprivate",
        options=tuple(option for option in options if option not in known),
    )


def _namespaces(spec: ContainerSpec, asked: Iterable[pb.LinuxNamespace]) -> Namespaces:
    made = dict(vars(spec.namespaces))
    for namespace in asked:
        kind, removed = unmarked(namespace.type)
        if kind not in _NAMESPACES:
            raise _bad(spec, f"namespace {kind}", f"is none of {', '.join(_NAMESPACES)}")
        made[kind] = "host" if removed else namespace.path
    return Namespaces(**made)


def _cgroup(spec: ContainerSpec, asked: str) -> str:
    if asked and not asked.startswith("/"):
        raise _bad(spec, f"cgroup {asked}", "is no absolute path")
    return asked or spec.cgroup


def _extra(held: Mapping[str, Any], asked: pb.LinuxContainerAdjustment) -> dict[str, Any]:
    """Parts of config.json that have no field of their own."""
    made = {key: dict(value) if isinstance(value, Mapping) else value for key, value in held.items()}
    process, linux = made.setdefault("process", {}), made.setdefault("linux", {})
    if getattr(asked.io_priority, "class"):
        name = pb.IOPrioClass.Name(getattr(asked.io_priority, "class"))
        process["ioPriority"] = {"class": name, "priority": asked.io_priority.priority}
    if asked.scheduler.policy:
        process["scheduler"] = _scheduler(asked.scheduler)
    if asked.HasField("seccomp_policy"):
        linux["seccomp"] = _seccomp(asked.seccomp_policy)
    if asked.HasField("memory_policy"):
        policy = asked.memory_policy
        flags = [pb.MpolFlag.Name(flag) for flag in policy.flags]
        linux["memoryPolicy"] = {"mode": pb.MpolMode.Name(policy.mode), "nodes": policy.nodes, "flags": flags}
    rdt = _rdt(asked)
    if rdt:
        linux["intelRdt"] = rdt
    devices = {name: {"name": device.name} for name, device in asked.net_devices.items() if name[:1] != "-"}
    if devices:
        linux["netDevices"] = {name: device if device["name"] else {} for name, device in devices.items()}
    limits = resources.rest(asked.resources)
    if limits:
        linux["resources"] = limits
    return {key: value for key, value in made.items() if value}


def _rdt(asked: pb.LinuxContainerAdjustment) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if asked.resources.rdt_class.value:
        made["closID"] = asked.resources.rdt_class.value
    if asked.rdt.HasField("clos_id"):
        made["closID"] = asked.rdt.clos_id.value
    if asked.rdt.HasField("schemata"):
        made["schemata"] = list(asked.rdt.schemata.value)
    if asked.rdt.HasField("enable_monitoring"):
        made["enableMonitoring"] = asked.rdt.enable_monitoring.value
    return made


def _scheduler(asked: pb.LinuxScheduler) -> dict[str, Any]:
    made: dict[str, Any] = {
        "policy": pb.LinuxSchedulerPolicy.Name(asked.policy),
        "flags": [pb.LinuxSchedulerFlag.Name(flag) for flag in asked.flags],
    }
    for name in ("nice", "priority", "runtime", "deadline", "period"):
        if getattr(asked, name):
            made[name] = getattr(asked, name)
    return made


def _seccomp(asked: pb.LinuxSeccomp) -> dict[str, Any]:
    """config-linux.md, "Seccomp"."""
    made: dict[str, Any] = {
        "defaultAction": asked.default_action,
        "architectures": list(asked.architectures),
        "flags": list(asked.flags),
        "syscalls": [_syscall(syscall) for syscall in asked.syscalls],
    }
    if asked.HasField("default_errno"):
        made["defaultErrnoRet"] = asked.default_errno.value
    if asked.listener_path:
        made |= {"listenerPath": asked.listener_path, "listenerMetadata": asked.listener_metadata}
    return {key: value for key, value in made.items() if value != []}


def _syscall(asked: pb.LinuxSyscall) -> dict[str, Any]:
    made: dict[str, Any] = {"names": list(asked.names), "action": asked.action}
    if asked.HasField("errno_ret"):
        made["errnoRet"] = asked.errno_ret.value
    if asked.args:
        made["args"] = [
            {"index": arg.index, "value": arg.value, "valueTwo": arg.value_two, "op": arg.op}
            for arg in asked.args
        ]
    return made


def _bad(spec: ContainerSpec, what: str, cause: str) -> BadAdjustment:
    return BadAdjustment(
        f"container {spec.id[:12]}: {what}, which an NRI plugin wants",
        cause,
        hint="see the plugin's configuration",
    )
