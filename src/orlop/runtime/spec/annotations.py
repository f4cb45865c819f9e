"""Annotations: data for people and tools, never orders to the runtime (CVE-2024-3154)."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.errors import InvalidInput

#: What runc, crun or CRIU would obey: systemd properties, handlers, hooks.
_ORDERS = ("org.systemd.property.", "run.oci.", "org.criu.", "org.opencontainers.runc.")
_TOTAL = 256 * 1024  # as Kubernetes bounds them


def checked(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations. Raises InvalidInput where one is malformed or would command the runtime."""
    total = 0
    for key, value in annotations.items():
        total += len(key) + len(value)
        if not key or not key.isprintable() or " " in key or "\0" in value:
            raise InvalidInput(
                f"annotation {key!r}", "is malformed", hint="see Kubernetes' rules for annotations"
            )
        if key.lower().startswith(_ORDERS):
            raise InvalidInput(
                f"annotation {key}", "would give orders to the OCI runtime", hint="leave it out"
            )
    if total > _TOTAL:
        raise InvalidInput("annotations", f"are longer than {_TOTAL} bytes together", hint="shorten them")
    return dict(annotations)
