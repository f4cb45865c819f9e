"""Mounts: the field's defaults, then what was asked for, shallow places first."""

from __future__ import annotations

import os
from collections.abc import Mapping

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, NotFound, Unsupported
from orlop.runtime.features import Features
from orlop.runtime.model import ContainerSpec, Mount

_PROPAGATIONS = ("rprivate", "rslave", "rshared", "private", "slave", "shared")


def mounts(spec: ContainerSpec, features: Features, *, sources: Mapping[int, str]) -> list[dict[str, object]]:
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
            listed[place] = _bind(place, mount, sources.get(index), features)
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


def _bind(place: str, mount: Mount, resolved: str | None, features: Features) -> dict[str, object]:
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
    if mount.propagation not in ("rprivate", "private"):
        _require_propagation(place, source, mount.propagation)
    options = ["rbind", mount.propagation, "ro" if mount.read_only else "rw", *_options(mount)]
    if mount.recursive_read_only:
        if not features.recursive_read_only:
            raise Unsupported(
                f"mount at {place}",
                f"{features.name} or this kernel cannot make it read-only in all its parts",
                hint="use Linux 5.12 or newer with runc 1.1, crun 1.4 or newer",
            )
        options.append("rro")
    if os.path.islink(source):  # what it leads to is meant, whatever the runtime thinks of links
        source = os.path.realpath(source)
    return _mount(place, "bind", source, *options)


def _require_propagation(place: str, source: str, wanted: str) -> None:
    """Raises InvalidInput where the mount that `source` is on is private: no new mount would come through."""
    descriptor = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as stream:
            number = next(line.split()[1] for line in stream if line.startswith("mnt_id:"))
    finally:
        os.close(descriptor)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        fields = next((line.split() for line in table if line.split(" ", 1)[0] == number), [])
    optional = fields[6 : fields.index("-")] if "-" in fields else []
    shared = any(field.startswith("shared:") for field in optional)
    slave = any(field.startswith("master:") for field in optional)
    if shared or (slave and wanted in ("rslave", "slave")):
        return
    where = fields[4] if len(fields) > 4 else source
    raise InvalidInput(
        f"mount at {place}",
        f"{wanted} needs a shared mount, and {source} is on {where}, which is private",
        hint=f"mount --make-rshared {where}",
    )


def _options(mount: Mount) -> list[str]:
    for option in mount.options:
        if not option or "," in option or not option.isprintable():
            raise InvalidInput(f"mount option {option!r}", "is malformed", hint="give one option each")
    return list(mount.options)
