"""What JSON says of a pod."""

from __future__ import annotations

from orlop.cli.container import shown
from orlop.cli.output import plain, stamp

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.pod.model import Container, Sandbox

KEYS = """`id`, `name`, `namespace`, `uid`, `attempt`, `state` (ready, notready), `created` (RFC 3339), `ips`,
`network` (pod, none, host), `ports`, `labels`, `annotations`, `containers` (each as `orlop ps` has it)"""


def as_json(sandbox: Sandbox, containers: list[Container]) -> dict[str, object]:
    """What `pod list` and `pod inspect` say of a pod."""
    config = sandbox.config
    return {
        "id": sandbox.id,
        "name": config.name,
        "namespace": config.namespace,
        "uid": config.uid,
        "attempt": config.attempt,
        "state": sandbox.state,
        "created": stamp(sandbox.created),
        "ips": list(sandbox.addresses.ips),
        "network": config.network,
        "ports": plain(config.ports),
        "labels": dict(config.labels),
        "annotations": dict(config.annotations),
        "containers": [shown.as_json(container, sandbox) for container in containers],
    }
