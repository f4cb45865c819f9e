"""The users of a pod: which of the machine's IDs its own are."""

from __future__ import annotations

from itertools import pairwise

from orlop.kit.errors import InvalidInput
from orlop.pod.model import SandboxConfig

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.model import IDMapping

_LAST_ID = 2**32 - 2  # the one above it is "no ID"
_EXTENTS = 340  # of one map (user_namespaces(7))


def validate(config: SandboxConfig) -> None:
    """Raises InvalidInput where the pod's mappings are no user namespace, or another namespace forbids it."""
    subject = f"pod {config.name}: user namespace"
    if not config.uid_mappings and not config.gid_mappings:
        return
    shared = {"network": config.network == "host", "IPC": config.host_ipc, "PID": config.host_pid}
    for kind, is_shared in shared.items():
        if is_shared:
            raise InvalidInput(
                subject,
                f"cannot be with the host's {kind} namespace, which its root has no rights in",
                hint="leave one of the two out",
            )
    for what, mappings in (("user", config.uid_mappings), ("group", config.gid_mappings)):
        _validate(f"{subject}: {what} IDs", mappings)


def root_of(mappings: tuple[IDMapping, ...]) -> int:
    """The machine's ID of the pod's root; 0 without mappings."""
    return outside(mappings, 0)


def outside(mappings: tuple[IDMapping, ...], inside: int) -> int:
    """The machine's ID of an ID in the pod; itself without mappings. Raises InvalidInput: it has none."""
    for mapping in mappings:
        if mapping.container <= inside < mapping.container + mapping.length:
            return mapping.host + inside - mapping.container
    if not mappings:
        return inside
    raise InvalidInput(
        f"ID {inside}", "is not in the pod's user namespace", hint="choose one that its mappings have"
    )


def extents(mappings: tuple[IDMapping, ...]) -> list[tuple[int, int, int]]:
    """As kit.user_namespace has them."""
    return [(mapping.container, mapping.host, mapping.length) for mapping in mappings]


def _validate(subject: str, mappings: tuple[IDMapping, ...]) -> None:
    if not mappings or len(mappings) > _EXTENTS:
        raise InvalidInput(subject, f"{len(mappings)} mappings", hint=f"give 1 to {_EXTENTS} for both kinds")
    for mapping in mappings:
        least, most = min(mapping.host, mapping.container), max(mapping.host, mapping.container)
        if least < 0 or mapping.length < 1 or most + mapping.length - 1 > _LAST_ID:
            raise InvalidInput(
                subject,
                f"{mapping.container}:{mapping.host}:{mapping.length} is out of range",
                hint=f"give IDs of 0 to {_LAST_ID}",
            )
    for side in ("host", "container"):
        ranges = sorted((getattr(mapping, side), mapping.length) for mapping in mappings)
        for (first, length), (second, _) in pairwise(ranges):
            if first + length > second:
                raise InvalidInput(subject, f"{second} is mapped twice", hint="give ranges side by side")
    outside(mappings, 0)
    if any(mapping.host == 0 for mapping in mappings):
        raise InvalidInput(
            subject, "the machine's root would be in it", hint="map IDs that nobody on the machine has"
        )
