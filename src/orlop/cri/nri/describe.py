"""Pods and containers as plugins see them: what was asked for, and what stands in config.json."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from orlop.cri.nri import resources
from orlop.cri.nri.proto import nri_pb2 as pb
from orlop.kit.errors import OrlopError
from orlop.pod import namespaces
from orlop.pod.context import Pods
from orlop.pod.model import Container, Sandbox

_STATES = {
    "created": pb.CONTAINER_CREATED,
    "running": pb.CONTAINER_RUNNING,
    "exited": pb.CONTAINER_STOPPED,
}
_PINS = {"net": "network", "ipc": "ipc", "uts": "uts", "pid": "pid", "user": "user"}
_HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}
_OURS = "run.oci."  # annotations that we give to crun
_NANO = 1_000_000_000


def pod(pods: Pods, sandbox: Sandbox) -> pb.PodSandbox:
    config = sandbox.config
    made = pb.PodSandbox(
        id=sandbox.id,
        name=config.name,
        uid=config.uid,
        namespace=config.namespace,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=config.handler,
        ips=[*sandbox.addresses.ips],
    )
    made.linux.pod_overhead.CopyFrom(resources.message(config.overhead))
    made.linux.pod_resources.CopyFrom(resources.message(config.resources))
    made.linux.resources.CopyFrom(made.linux.pod_resources)
    made.linux.cgroup_parent = config.cgroup_parent
    made.linux.cgroups_path = pods.cgroup(sandbox.id)
    folder = namespaces.folder(pods.node, sandbox.id)
    for name, kind in _PINS.items():
        path = os.path.join(folder, name)
        if os.path.exists(path):
            made.linux.namespaces.add(type=kind, path=path)
    return made


def container(
    pods: Pods, container: Container, config: Mapping[str, Any] | None = None, *, state: int | None = None
) -> pb.Container:
    """The container by its config.json: `config`, or the one in its bundle where it has one."""
    asked = container.config
    made = pb.Container(
        id=container.id,
        pod_sandbox_id=container.sandbox_id,
        name=asked.name,
        state=_STATES.get(container.state, pb.CONTAINER_UNKNOWN) if state is None else state,  # type: ignore[arg-type]
        labels=asked.labels,
        annotations=asked.annotations,
        pid=container.pid,
        created_at=int(container.created * _NANO),
        started_at=int(container.started * _NANO),
        finished_at=int(container.finished * _NANO),
        exit_code=container.exit_code,
        status_reason=container.reason,
        status_message=container.message,
        CDI_devices=[pb.CDIDevice(name=name) for name in asked.cdi_devices],
        user=pb.User(uid=container.uid, gid=container.gid, additional_gids=container.groups),
        image=_image(pods, container),
    )
    _profile(asked.security.seccomp, asked.security.privileged, made.linux.seccomp_profile)
    config = _written(pods, container.id) if config is None else config
    if config:
        _fill(made, config)
    else:  # not made yet, or gone
        made.args.extend((asked.command or ()) + (asked.args or ()))
        made.env.extend(f"{name}={value}" for name, value in asked.env)
        made.linux.resources.CopyFrom(resources.message(asked.resources))
    return made


def _written(pods: Pods, identifier: str) -> Mapping[str, Any]:
    try:
        return pods.engine.config_of(identifier)
    except (OrlopError, ValueError):
        return {}


def _image(pods: Pods, container: Container) -> pb.Image:
    made = pb.Image(
        name=container.config.image_name or container.config.image, config_digest=container.image_id
    )
    with contextlib.suppress(OrlopError):  # it was removed: the container goes on
        made.digest = pods.store.image(container.image_id).digest
    return made


def _profile(seccomp: str, privileged: bool, made: pb.SecurityProfile) -> None:
    if privileged or seccomp == "unconfined":
        made.profile_type = pb.SecurityProfile.UNCONFINED
    elif seccomp == "default":
        made.profile_type = pb.SecurityProfile.RUNTIME_DEFAULT
        made.SetInParent()
    else:
        made.profile_type, made.localhost_ref = pb.SecurityProfile.LOCALHOST, seccomp


def _fill(made: pb.Container, config: Mapping[str, Any]) -> None:
    process, linux = config.get("process") or {}, config.get("linux") or {}
    for name, value in (config.get("annotations") or {}).items():
        if not name.startswith(_OURS):
            made.annotations[name] = value
    made.args.extend(process.get("args") or ())
    made.env.extend(process.get("env") or ())
    for mount in config.get("mounts") or ():
        made.mounts.add(
            destination=mount["destination"],
            type=mount.get("type", ""),
            source=mount.get("source", ""),
            options=mount.get("options") or (),
        )
    for stage, hooks in (config.get("hooks") or {}).items():
        for hook in hooks:
            one = getattr(made.hooks, _HOOKS[stage]).add(
                path=hook["path"], args=hook.get("args") or (), env=hook.get("env") or ()
            )
            if hook.get("timeout"):
                one.timeout.value = hook["timeout"]
    for limit in process.get("rlimits") or ():
        made.rlimits.add(type=limit["type"], hard=limit["hard"], soft=limit["soft"])
    user = process.get("user")
    if user:
        made.user.uid, made.user.gid = user.get("uid", 0), user.get("gid", 0)
        made.user.additional_gids[:] = user.get("additionalGids") or ()
    _fill_process(made.linux, process)
    _fill_linux(made.linux, linux)


def _fill_process(made: pb.LinuxContainer, process: Mapping[str, Any]) -> None:
    if process.get("oomScoreAdj") is not None:
        made.oom_score_adj.value = process["oomScoreAdj"]
    priority, scheduler = process.get("ioPriority"), process.get("scheduler")
    if priority:
        made.io_priority.CopyFrom(
            pb.LinuxIOPriority(priority=priority.get("priority", 0), **{"class": priority["class"]})
        )
    if scheduler:
        made.scheduler.policy = pb.LinuxSchedulerPolicy.Value(scheduler["policy"])  # type: ignore[assignment]
        made.scheduler.flags.extend(
            pb.LinuxSchedulerFlag.Value(flag)  # type: ignore[misc]
            for flag in scheduler.get("flags") or ()
        )
        for name in ("nice", "priority", "runtime", "deadline", "period"):
            setattr(made.scheduler, name, scheduler.get(name, 0))


def _fill_linux(made: pb.LinuxContainer, linux: Mapping[str, Any]) -> None:
    made.cgroups_path = linux.get("cgroupsPath", "")
    for namespace in linux.get("namespaces") or ():
        made.namespaces.add(type=namespace["type"], path=namespace.get("path", ""))
    for device in linux.get("devices") or ():
        node = made.devices.add(
            path=device["path"],
            type=device["type"],
            major=device.get("major", 0),
            minor=device.get("minor", 0),
        )
        for name, field in (("fileMode", "file_mode"), ("uid", "uid"), ("gid", "gid")):
            if device.get(name) is not None:
                getattr(node, field).value = device[name]
    made.resources.CopyFrom(resources.from_oci(linux.get("resources") or {}))
    made.sysctl.update(linux.get("sysctl") or {})
    for name, device in (linux.get("netDevices") or {}).items():
        made.net_devices[name].name = device.get("name", "")
    rdt = linux.get("intelRdt")
    if rdt:
        made.rdt.clos_id.value = rdt.get("closID", "")
        made.rdt.schemata.value.extend(rdt.get("schemata") or ())
        made.rdt.enable_monitoring.value = rdt.get("enableMonitoring", False)
    if linux.get("seccomp"):
        _fill_seccomp(made.seccomp_policy, linux["seccomp"])


def _fill_seccomp(made: pb.LinuxSeccomp, policy: Mapping[str, Any]) -> None:
    made.default_action = policy.get("defaultAction", "")
    made.architectures.extend(policy.get("architectures") or ())
    made.flags.extend(policy.get("flags") or ())
    made.listener_path = policy.get("listenerPath", "")
    made.listener_metadata = policy.get("listenerMetadata", "")
    if policy.get("defaultErrnoRet") is not None:
        made.default_errno.value = policy["defaultErrnoRet"]
    for syscall in policy.get("syscalls") or ():
        one = made.syscalls.add(names=syscall["names"], action=syscall["action"])
        if syscall.get("errnoRet") is not None:
            one.errno_ret.value = syscall["errnoRet"]
        for arg in syscall.get("args") or ():
            one.args.add(
                index=arg["index"], value=arg.get("value", 0), value_two=arg.get("valueTwo", 0), op=arg["op"]
            )
