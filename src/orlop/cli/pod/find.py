"""A pod by its name, with or without a sandbox."""

from __future__ import annotations

from orlop.cli.context import Context
from orlop.cli.pod.shown import Pod, everything
from orlop.kit.errors import NotFound


def find(context: Context, name: str) -> Pod:
    """By name, namespace/name, ID or its start; also one that is declared and waits. Raises NotFound."""
    known = everything(context)
    try:
        sandbox = context.pods.sandbox(name)
    except NotFound:
        for pod in known:
            if pod.sandbox is None and pod.status is not None and name in (pod.status.name, pod.status.key):
                return pod
        raise
    containers = tuple(context.pods.containers(sandbox.id))
    same = (pod for pod in known if pod.sandbox is not None and pod.sandbox.id == sandbox.id)
    return next(same, Pod(sandbox, containers, None))
