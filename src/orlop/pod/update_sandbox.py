"""Change what a pod as a whole may use."""

from __future__ import annotations

from orlop.kit.errors import Conflict
from orlop.pod import codec
from orlop.pod.context import Pods, as_sandbox
from orlop.pod.model import Sandbox, SandboxConfig
from orlop.pod.records import READY
from orlop.pod.update_container import changed
from orlop.runtime.model import Resources


def update_sandbox(pods: Pods, name: str, resources: Resources, overhead: Resources) -> Sandbox:
    """The pod with these limits, in its record and in its cgroup where that is ours; what is 0 stays.

    `overhead` is what the pod costs beside its containers; it is written down. A pod whose cgroup is somebody
    else's has its limits from there. Raises NotFound, Conflict (it is not ready, or uses more), InvalidInput.
    """
    identifier = pods.sandbox_row(name)["id"]
    with pods.claim(identifier):
        row = pods.sandbox_row(identifier)
        if row["state"] != READY:
            raise Conflict(f"pod {row['name']}", "is not ready", hint="start a new pod with these limits")
        config = codec.sandbox_config(row["config"])
        values = {
            "resources": changed(config.resources, resources),
            "overhead": changed(config.overhead, overhead),
        }
        hooks = pods.heard("update_sandbox", identifier)
        if hooks is not None:
            hooks.update_sandbox(as_sandbox(row), values["overhead"], values["resources"])
        if not config.cgroup_parent and resources != Resources():
            pods.engine.make_group(pods.cgroup(identifier), resources)
        text = codec.dumps(SandboxConfig(**{**vars(config), **values}))
        pods.records.update("sandboxes", identifier, config=text)
        pods.tell("updated_sandbox", identifier)
        return as_sandbox(pods.sandbox_row(identifier))
