"""Mounts: the field's defaults, then what was asked for, shallow places first."""

from __future__ import annotations

import os
from collections.abc import Mapping

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, NotFound
from orlop.runtime.model import ContainerSpec, Mount

_PROPAGATIONS = ("rprivate", "rslave", "rshared", "private", "slave", "shared")


def mounts(spec: ContainerSpec, *, sources: Mapping[int, str]) -> list[dict[str, object]]:
    """`mounts`. `sources` replaces the source of the mount with that index."""
    listed = {str(mount["destination"]): mount for mount in _defaults(spec)}
    for index, mount in enumerate(spec.mounts):
        place = destination(mount.destination)
        listed.pop(place, None)
        if mount.kind:
            listed[place] = _mount(place, mount.kind, mount.source or mount.kind, *_options(mount))
        elif not mount.source:
            listed[place] = _tmpfs(place, mount)
        else:
            listed[place] = _bind(place, mount, sources.get(index))
    for path in spec.without_mounts:
        listed.pop(path, None)
    # A mount must not cover a deeper one, wherever it stood in the list. The sort is stable.
    return sorted(listed.values(), key=lambda mount: str(mount["destination"]).rstrip("/").count("/"))


def root_propagation(asked: tuple[Mount, ...]) -> str:
    """Of the container's whole tree: as open as its most open mount."""
    kinds = {mount.propagation for mount in asked}
    if "rshared" in kinds or "shared" in kinds:
        return "rshared"
    return "rslave" if "rslave" in kinds or "slave" in kinds else "rprivate"


def destination(path: str) -> str:
    """The normal form of a place in the container. Raises InvalidInput."""
    if not path.startswith("/") or ".." in path.split("/") or "\0" in path or len(path) > limits.PATH_LENGTH:
        raise InvalidInput(f"mount at {path!r}", "is no absolute path", hint="write it as /a/b, without ..")
    normal = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    if normal == "/":
        raise InvalidInput("mount at /", "would hide the image", hint="mount it at a folder")
    return normal


def _defaults(spec: ContainerSpec) -> list[dict[str, object]]:
    privileged = spec.security.privileged
    how = "rw" if privileged else "ro"
    listed = [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid",
            "noexec",
            "newinstance",
            "ptmxmode=0666",
            "mode=0620",
            "gid=5",
        ),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", how),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", how),
    ]
    if spec.namespaces.ipc == "host":
        listed.append(_mount("/dev/shm", "bind", "/dev/shm", "rbind", "rw"))  # noqa: S108 the pod's own
    else:
        listed.append(
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")  # noqa: S108
        )
    return listed


def _mount(place: str, kind: str, source: str, *options: str) -> dict[str, object]:
    return {"destination": place, "type": kind, "source": source, "options": list(options)}


def _tmpfs(place: str, mount: Mount) -> dict[str, object]:
    options = ["nosuid", "nodev", *_options(mount)]
    if not any(option.startswith("mode=") for option in options):
        options.append("mode=1777")
    if mount.size:
        options.append(f"size={mount.size}")
    if mount.read_only:
        options.append("ro")
    return _mount(place, "tmpfs", "tmpfs", *options)


def _bind(place: str, mount: Mount, resolved: str | None) -> dict[str, object]:
    source = resolved or mount.source
    if not source.startswith("/"):
        raise InvalidInput(f"mount of {source}", "its source is not absolute", hint="start it with /")
    if not os.path.exists(source):
        raise NotFound(f"mount of {source}", "its source does not exist", hint="make it first")
    if mount.propagation not in _PROPAGATIONS:
        raise InvalidInput(
            f"mount at {place}",
            f"{mount.propagation!r} is no propagation",
            hint="give rprivate, rslave or rshared",
        )
    options = ["rbind", mount.propagation, "ro" if mount.read_only else "rw", *_options(mount)]
    return _mount(place, "bind", source, *options)


def _options(mount: Mount) -> list[str]:
    for option in mount.options:
        if not option or "," in option or not option.isprintable():
            raise InvalidInput(f"mount option {option!r}", "is malformed", hint="give one option each")
    return list(mount.options)
