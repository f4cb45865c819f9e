"""Change the limits of a container while it runs, or before it starts."""

from __future__ import annotations

from orlop.kit.errors import Conflict
from orlop.pod import codec, refresh
from orlop.pod.context import Pods, as_container, as_sandbox
from orlop.pod.model import Container, ContainerConfig
from orlop.pod.records import CREATED, RUNNING
from orlop.runtime.model import Resources


def update_container(pods: Pods, name: str, resources: Resources) -> Container:
    """The container with these limits, at once and in its record; what is 0 or "" stays as it is.

    The score of the OOM killer is that of its processes and does not change any more. Raises NotFound,
    Conflict (it has ended, or uses more memory than it may from now on), and what `runtime` raises where the
    kernel refuses: the old limits then hold, in the record too.
    """
    identifier = pods.container_row(name)["id"]
    with pods.claim(identifier):
        row = refresh.refreshed(pods, pods.container_row(identifier))
        if row["state"] not in (CREATED, RUNNING):
            raise Conflict(f"container {row['name']}", "has ended", hint="create a new one with these limits")
        hooks = pods.heard("update_container", identifier)
        if hooks is not None:
            about = as_sandbox(pods.sandbox_row(row["sandbox_id"])), as_container(row)
            resources = hooks.update_container(*about, resources)
        pods.engine.update(identifier, resources)
        config = codec.container_config(row["config"])
        config = ContainerConfig(**{**vars(config), "resources": changed(config.resources, resources)})
        pods.records.update("containers", identifier, config=codec.dumps(config))
        pods.tell("updated_container", row["sandbox_id"], identifier)
        return as_container(pods.container_row(identifier))


def changed(old: Resources, new: Resources) -> Resources:
    """`old` with what `new` sets. The kernel's own numbers of the CPU outrank the thousandths of a core."""
    values = {
        name: value
        for name, value in vars(new).items()
        if value not in (0, "", None, {}) and name != "oom_score_adj"
    }
    for name in ("hugepages", "unified"):
        if name in values:
            values[name] = {**getattr(old, name), **values[name]}
    return Resources(**{**vars(old), **values})
