"""How containers are shown: their names, states, ports; and what JSON says of them."""

from __future__ import annotations

from orlop.cli.image.names import short
from orlop.cli.output import ago, span, stamp

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from orlop.pod.model import Container, Sandbox

#: The keys of `as_json`, for the documentation.
KEYS = """`id`, `name` (as commands take it), `pod`, `pod_id`, `namespace`, `container` (its name in the
pod), `attempt`, `image`, `image_id`, `state` (created, running, exited, unknown), `reason`, `message`,
`exit_code` (null before its end), `pid`, `created`, `started`, `finished` (RFC 3339 or null), `ips`,
`ports` (each `host_ip`, `host_port`, `container_port`, `protocol`), `labels`, `log_path`"""


def title(container: Container, sandbox: Sandbox) -> str:
    """The name that commands take: `pod/container`, or one word for what `orlop run` made."""
    pod, name = sandbox.config.name, container.config.name
    return pod if name == pod else f"{pod}/{name}"


def status(container: Container, now: float) -> str:
    """`Up 3 minutes`, `Exited (0) 2 minutes ago`."""
    if container.state == "running":
        return f"Up {span(now - container.started)}"
    if container.state == "exited":
        reason = container.reason if container.reason not in ("", "Completed", "Error") else ""
        code = f"{container.exit_code}, {reason}" if reason else str(container.exit_code)
        return f"Exited ({code}) {ago(container.finished, now)}"
    return container.state.capitalize()


def ports(sandbox: Sandbox) -> str:
    """`8080->80/tcp`, the address before it where there is one; nothing once the pod was stopped."""
    if sandbox.state != "ready":
        return ""
    shown = []
    for port in sandbox.config.ports:
        address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
        where = f"{address}:{port.host_port}" if address else str(port.host_port)
        shown.append(f"{where}->{port.container_port}/{port.protocol}")
    return ", ".join(shown)


def image(container: Container) -> str:
    """The name that was asked for; the short ID where an ID was asked for."""
    from orlop.cli.image.names import familiar

    asked = container.config.image
    return short(asked) if asked.startswith("sha256:") else familiar(asked)


def as_json(container: Container, sandbox: Sandbox) -> dict[str, object]:
    """What `ps` and `inspect` say of a container."""
    config = container.config
    return {
        "id": container.id,
        "name": title(container, sandbox),
        "pod": sandbox.config.name,
        "pod_id": sandbox.id,
        "namespace": sandbox.config.namespace,
        "container": config.name,
        "attempt": config.attempt,
        "image": config.image,
        "image_id": container.image_id,
        "state": container.state,
        "reason": container.reason,
        "message": container.message,
        "exit_code": container.exit_code if container.state == "exited" else None,
        "pid": container.pid,
        "created": stamp(container.created),
        "started": stamp(container.started),
        "finished": stamp(container.finished),
        "ips": list(sandbox.addresses.ips) if sandbox.state == "ready" else [],
        "ports": [vars(port) for port in sandbox.config.ports],
        "labels": dict(config.labels),
        "log_path": container.log_path,
    }
