"""The init of a pod that shares its PID namespace: catatonit, which owns the namespace and reaps in it.

It is a container of its own, without a record: the sandbox's ID is its ID. Its root is an empty folder with
the one static binary mounted in; its namespace is pinned, and the pod's containers join it.
"""

from __future__ import annotations

import os
import sqlite3

from orlop.kit.errors import NotFound
from orlop.pod import namespaces, sandbox
from orlop.pod.context import Pods
from orlop.pod.model import SandboxConfig
from orlop.runtime.model import ContainerSpec, Mount, Namespaces, Process, Security

_PLACES = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/local/bin/catatonit")


def wanted(config: SandboxConfig) -> bool:
    """Whether the pod has an init: with the host's PID namespace there is nothing to own."""
    return config.shared_pid and not config.host_pid


def recorded(row: sqlite3.Row) -> bool:
    """Whether the sandbox of this record may have an init, also one whose start was not recorded."""
    return '"shared_pid":true' in row["config"]


def start(pods: Pods, sandbox_id: str, config: SandboxConfig) -> int:
    """Start the init and pin its PID namespace; returns its PID."""
    bundle = pods.bundle(sandbox_id)
    owner = sandbox.owner(config)
    above = pods.store.mapped_folder(sandbox_id, owner) if config.uid_mappings else bundle
    root = os.path.join(above, "init")
    os.makedirs(root, mode=0o700, exist_ok=True)
    if config.uid_mappings:
        os.chown(root, *owner)
    pins = namespaces.folder(pods.node, sandbox_id)
    spec = ContainerSpec(
        id=sandbox_id,
        root=root,
        process=Process(args=("/catatonit", "-P"), stop_signal="SIGKILL"),
        cgroup=pods.cgroup(sandbox_id, sandbox_id),
        namespaces=Namespaces(
            network="host" if config.network == "host" else os.path.join(pins, "net"),
            ipc="host" if config.host_ipc else os.path.join(pins, "ipc"),
            uts="host" if config.network == "host" else os.path.join(pins, "uts"),
            user=os.path.join(pins, "user") if config.uid_mappings else "",
        ),
        uid_mappings=config.uid_mappings,
        gid_mappings=config.gid_mappings,
        security=Security(user="0:0", drop_capabilities=("ALL",), no_new_privileges=True),
        mounts=(Mount("/catatonit", _program(), read_only=True),),
    )
    pid = pods.engine.create(spec, bundle, log_path=os.path.join(bundle, "init.log"), handler=config.handler)
    pods.engine.start(sandbox_id)
    namespaces.pin_pid(pods.node, sandbox_id, pid)
    return pid


def _program() -> str:
    for path in _PLACES:
        if os.access(path, os.X_OK):
            return os.path.realpath(path)
    raise NotFound(
        "catatonit",
        "is not installed; a pod that shares its PID namespace needs it",
        hint="install the package catatonit",
    )
