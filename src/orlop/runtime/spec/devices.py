"""Devices of a container: the nodes to make and the rules of the devices controller."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from orlop.kit.errors import InvalidInput, NotFound
from orlop.kit.value import dataclass
from orlop.runtime.model import ContainerSpec, Device

_DEFAULT_MODE = 0o666


@dataclass(frozen=True)
class Node:
    """A device node as the machine has it."""

    path: str
    kind: str  # "c", "b" or "p"
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    permissions: str


#: (kind, major, minor, access): every node may be made; null, zero, full, tty, urandom, random, console,
#: ptmx and the pseudo-terminals may be used.
_ALLOWED: tuple[tuple[str, int | None, int | None, str], ...] = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 1, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, None, "rwm"),
)
_OWN = frozenset(
    ["null", "zero", "full", "tty", "urandom", "random", "console", "ptmx"]
)  # the runtime makes these itself
_SKIPPED = frozenset(["pts", "shm", "fd", "mqueue", "hugepages", ".lxc", ".lxd-mounts", ".udev"])


def found(spec: ContainerSpec) -> list[Node]:
    """The nodes that were asked for; for a privileged container all of the machine's as well."""
    nodes = {node.path: node for node in _all("/dev")} if spec.security.privileged else {}
    for device in spec.devices:
        for node in _asked(device):
            nodes[node.path] = node
    return [nodes[path] for path in sorted(nodes)]


def nodes(devices: list[Node]) -> list[dict[str, object]]:
    """`linux.devices`."""
    return [
        {
            "path": node.path,
            "type": node.kind,
            **({} if node.kind == "p" else {"major": node.major, "minor": node.minor}),
            "fileMode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
        }
        for node in devices
    ]


def rules(devices: list[Node], *, privileged: bool) -> list[dict[str, object]]:
    """`linux.resources.devices`."""
    if privileged:
        return [{"allow": True, "access": "rwm"}]
    listed: list[dict[str, object]] = [{"allow": False, "access": "rwm"}]
    for kind, major, minor, access in _ALLOWED:
        rule: dict[str, object] = {"allow": True, "type": kind, "access": access}
        if major is not None:
            rule["major"] = major
        if minor is not None:
            rule["minor"] = minor
        listed.append(rule)
    for node in devices:
        if node.kind == "p":
            continue  # a FIFO is nothing that the controller knows
        listed.append(
            {
                "allow": True,
                "type": node.kind,
                "major": node.major,
                "minor": node.minor,
                "access": node.permissions,
            }
        )
    return listed


def _asked(device: Device) -> Iterator[Node]:
    target = device.path or device.host_path
    if not target.startswith("/") or ".." in target.split("/"):
        raise InvalidInput(f"device {target}", "is no absolute path", hint="write it as /dev/NAME")
    if not device.permissions or not set(device.permissions) <= set("rwm"):
        raise InvalidInput(
            f"device {target}", f"{device.permissions!r} are no permissions", hint="give some of rwm"
        )
    if device.kind:
        yield _numbered(device, target)
        return
    host = os.path.realpath(device.host_path)
    if os.path.isdir(host):
        listed = list(_all(host, permissions=device.permissions, target=target.rstrip("/"), own=True))
        if listed:
            yield from listed
            return
    node = _node(host, target, device.permissions)
    if node is None:
        raise NotFound(f"device {device.host_path}", "is no device of this machine", hint="see: ls -l /dev")
    changes: dict[str, object] = {}
    if device.mode is not None:
        changes["mode"] = stat.S_IMODE(device.mode)
    if device.owner is not None:
        changes["uid"], changes["gid"] = device.owner
    yield Node(**{**vars(node), **changes}) if changes else node


def _numbered(device: Device, target: str) -> Node:
    """A node that need not be there: it is told what it is."""
    if device.kind not in ("b", "c", "p"):
        raise InvalidInput(f"device {target}", f"{device.kind!r} is no kind", hint="give b, c or p")
    uid, gid = device.owner or (0, 0)
    mode = _DEFAULT_MODE if device.mode is None else stat.S_IMODE(device.mode)
    return Node(target, device.kind, device.major, device.minor, mode, uid, gid, device.permissions)


def _all(folder: str, *, permissions: str = "rwm", target: str = "", own: bool = False) -> Iterator[Node]:
    """The nodes below `folder`, called as they would be below `target`."""
    target = target or folder
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if os.path.islink(path) or name in _SKIPPED or (name in _OWN and not own):
            continue
        if os.path.isdir(path):
            yield from _all(path, permissions=permissions, target=f"{target}/{name}", own=own)
            continue
        node = _node(path, f"{target}/{name}", permissions)
        if node is not None:
            yield node


def _node(host: str, path: str, permissions: str) -> Node | None:
    try:
        status = os.stat(host)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return Node(
        path,
        kind,
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        permissions,
    )
