"""PodSandboxConfig into `SandboxConfig`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate import resources
from orlop.cri.translate.fields import check_words
from orlop.kit.errors import InvalidInput
from orlop.network.model import PortMapping
from orlop.pod.model import DNS, SandboxConfig
from orlop.runtime.model import IDMapping

MANAGER = "cri"  # whose the pods are that are made here
_PROTOCOLS = {pb.TCP: "tcp", pb.UDP: "udp", pb.SCTP: "sctp"}
_HIGHEST_PORT = 65535
_IDS = 2**32 - 1


def sandbox_config(asked: pb.PodSandboxConfig, handler: str) -> SandboxConfig:
    """Raises InvalidInput naming the field that is missing or wrong."""
    metadata = asked.metadata
    for field in ("name", "uid", "namespace"):
        if not getattr(metadata, field):
            raise InvalidInput(f"pod {metadata.name}: metadata.{field}", "is empty", hint="every pod has one")
    subject = f"pod {metadata.namespace}/{metadata.name}"
    linux = asked.linux
    security = linux.security_context
    options = security.namespace_options
    network = _either(options.network, {pb.POD: "pod", pb.NODE: "host"}, f"{subject}: network namespace")
    ipc = _either(options.ipc, {pb.POD: "pod", pb.NODE: "host"}, f"{subject}: IPC namespace")
    kinds = {pb.POD: "pod", pb.CONTAINER: "container", pb.NODE: "host"}
    pid = _either(options.pid, kinds, f"{subject}: PID namespace")
    uids, gids = user_namespace(options, subject)
    check_words(asked.labels, f"{subject}: labels")
    check_words(asked.annotations, f"{subject}: annotations")
    return SandboxConfig(
        name=metadata.name,
        uid=metadata.uid,
        namespace=metadata.namespace,
        attempt=metadata.attempt,
        hostname=asked.hostname,
        network=network,
        host_ipc=ipc == "host",
        host_pid=pid == "host",
        shared_pid=pid == "pod",
        ports=_ports(asked.port_mappings, subject) if network == "pod" else (),
        dns=DNS(
            servers=tuple(asked.dns_config.servers),
            searches=tuple(asked.dns_config.searches),
            options=tuple(asked.dns_config.options),
        ),
        sysctls=dict(linux.sysctls),
        resources=resources.resources(linux.resources, subject),
        labels=dict(asked.labels),
        annotations=dict(asked.annotations),
        handler=handler,
        cgroup_parent=linux.cgroup_parent,
        log_directory=_log_directory(asked.log_directory, subject),
        uid_mappings=uids,
        gid_mappings=gids,
        overhead=resources.resources(linux.overhead, subject),
        privileged=security.privileged,
        manager=MANAGER,
    )


def user_namespace(
    options: pb.NamespaceOption, subject: str
) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    """The mappings of users and of groups; none where the pod has the machine's. Raises InvalidInput."""
    if not options.HasField("userns_options"):
        return (), ()
    asked = options.userns_options
    subject = f"{subject}: user namespace"
    mode = _either(asked.mode, {pb.POD: "pod", pb.NODE: "host"}, subject)
    uids, gids = mappings(asked.uids, subject), mappings(asked.gids, subject)
    if mode == "host" and (uids or gids):
        raise InvalidInput(subject, "has mappings and is the machine's", hint="leave one of them out")
    if mode == "pod" and not (uids and gids):
        raise InvalidInput(subject, "lacks mappings of users or groups", hint="give both")
    return uids, gids


def mappings(asked: Iterable[pb.IDMapping], subject: str) -> tuple[IDMapping, ...]:
    """Raises InvalidInput where one is empty or leads past the last ID."""
    found = []
    for each in asked:
        if not each.length or max(each.host_id, each.container_id) + each.length > _IDS:
            raise InvalidInput(
                subject,
                f"{each.length} IDs from {each.container_id} to {each.host_id}: no such range",
                hint=f"a range has a length and ends below {_IDS}",
            )
        found.append(IDMapping(host=each.host_id, container=each.container_id, length=each.length))
    return tuple(found)


def _ports(asked: Iterable[pb.PortMapping], subject: str) -> tuple[PortMapping, ...]:
    """Without those that ask for no port of the machine."""
    found = []
    for port in asked:
        for number in (port.host_port, port.container_port):
            if not 0 <= number <= _HIGHEST_PORT:
                raise InvalidInput(f"{subject}: port {number}", "is no port", hint="from 1 to 65535")
        if port.host_port:
            protocol = _either(port.protocol, _PROTOCOLS, f"{subject}: port {port.host_port}")
            found.append(PortMapping(port.host_port, port.container_port, protocol, port.host_ip))
    return tuple(found)


def _log_directory(path: str, subject: str) -> str:
    if path and (not path.startswith("/") or ".." in path.split("/") or "\0" in path):
        raise InvalidInput(
            f"{subject}: log_directory {path!r}",
            "is not an absolute path without ..",
            hint="begin it with /",
        )
    return os.path.normpath(path) if path else ""


def _either(value: int, kinds: Mapping[Any, str], subject: str) -> str:
    try:
        return kinds[value]
    except KeyError:
        raise InvalidInput(subject, f"mode {value} is not possible", hint="see the CRI") from None
