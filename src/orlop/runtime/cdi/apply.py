"""Devices put into what the runtime is asked for."""

from __future__ import annotations

from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded, Unsupported
from orlop.runtime.cdi import registry
from orlop.runtime.model import ContainerSpec, Device, Hook, Mount, Process, Security

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_PREFIX = "cdi.k8s.io/"
_PROPAGATIONS = ("rprivate", "rslave", "rshared", "private", "slave", "shared")


def asked(devices: tuple[str, ...], annotations: Mapping[str, str]) -> tuple[str, ...]:
    """All qualified names that a container wants: those in its annotations, too, as peers take them.

    Raises InvalidInput where an annotation says something else.
    """
    named: dict[str, None] = {}
    for key in sorted(annotations):
        if key.startswith(_PREFIX):
            for name in annotations[key].split(","):
                registry.qualified(name)
                named[name] = None
    named.update(dict.fromkeys(devices))
    return tuple(named)


def apply(spec: ContainerSpec, devices: tuple[str, ...], folders: tuple[str, ...]) -> ContainerSpec:
    """`spec` with what the descriptions of these devices ask for, in the order of the names.

    Raises InvalidInput naming every device that no description has, that two have, or whose description is
    wrong; Unsupported where one asks for what Orlop cannot give; LimitExceeded.
    """
    if not devices:
        return spec
    found = registry.look(folders)
    for name in devices:
        registry.qualified(name)
    lacking = [name for name in devices if name not in found.devices]
    if lacking:
        raise _unresolvable(lacking, found)
    edits = _Edits(spec)
    seen: set[str] = set()
    for name in dict.fromkeys(devices):
        document = found.devices[name]
        if document.path not in seen:
            seen.add(document.path)
            edits.add(document.edits, document.path)
        edits.add(document.devices[name.partition("=")[2]], document.path)
    return edits.made()


def _unresolvable(names: list[str], found: registry.Registry) -> InvalidInput:
    said = [f"{name}: {found.problems[name]}" for name in names if name in found.problems]
    said += [f"{path}: {cause}" for path, cause in found.problems.items() if "=" not in path]
    cause = "no description has them" + (f" ({'; '.join(said)[:500]})" if said else "")
    return InvalidInput(
        f"CDI devices {', '.join(names)[:300]}", cause, hint="see the files in the folders of cdi_spec_dirs"
    )


class _Edits:
    """The parts of a spec that devices change, while they do."""

    def __init__(self, spec: ContainerSpec) -> None:
        self._spec = spec
        self._env = {entry.partition("=")[0]: entry for entry in spec.process.env}
        self._mounts = {mount.destination.rstrip("/") or "/": mount for mount in spec.mounts}
        self._devices = {device.path or device.host_path: device for device in spec.devices}
        self._hooks = list(spec.hooks)
        self._groups = dict.fromkeys(spec.security.groups)
        self._count = 0

    def add(self, edits: dict[str, Any], path: str) -> None:
        for name in ("intelRdt", "netDevices"):
            if edits.get(name):
                raise Unsupported(f"CDI file {path}", f"{name} cannot be given", hint="use another device")
        self._count += sum(len(value) for value in edits.values() if isinstance(value, list))
        if self._count > limits.CDI_ENTRIES:
            raise LimitExceeded(
                f"container {self._spec.id[:12]}",
                f"its CDI devices ask for more than {limits.CDI_ENTRIES} things",
                hint="give it fewer devices",
            )
        for entry in edits.get("env") or ():
            self._env[entry.partition("=")[0]] = entry
        for node in edits.get("deviceNodes") or ():
            self._devices[node["path"]] = self._device(node)
        for mount in edits.get("mounts") or ():
            self._mounts[mount["containerPath"].rstrip("/") or "/"] = _mount(mount, path)
        for hook in edits.get("hooks") or ():
            words = tuple(hook.get("args") or ()), tuple(hook.get("env") or ())
            self._hooks.append(Hook(hook["hookName"], hook["path"], *words, hook.get("timeout") or 0))
        for group in edits.get("additionalGids") or ():
            if group:  # 0 says "none", as the specification has it
                self._groups[group] = None

    def made(self) -> ContainerSpec:
        spec = self._spec
        return ContainerSpec(
            **{
                **vars(spec),
                "process": Process(**{**vars(spec.process), "env": tuple(self._env.values())}),
                "mounts": tuple(self._mounts.values()),
                "devices": tuple(self._devices.values()),
                "hooks": tuple(self._hooks),
                "security": Security(**{**vars(spec.security), "groups": tuple(self._groups)}),
            }
        )

    def _device(self, node: dict[str, Any]) -> Device:
        """The host's numbers where none are given; owned by the container's user where nobody is named."""
        kind = {"u": "c"}.get(node.get("type") or "", node.get("type") or "")
        numbered = bool(kind) and (kind == "p" or bool(node.get("major")))
        uid, gid = node.get("uid"), node.get("gid")
        user, _, group = self._spec.security.user.partition(":")
        if uid is None and user.isdigit() and int(user) > 0:
            uid = int(user)
        if gid is None and group.isdigit() and int(group) > 0:
            gid = int(group)
        return Device(
            host_path=node.get("hostPath") or node["path"],
            path=node["path"],
            permissions=node.get("permissions") or "rwm",
            kind=kind if numbered else "",
            major=(node.get("major") or 0) if numbered else 0,
            minor=(node.get("minor") or 0) if numbered else 0,
            mode=node.get("fileMode"),
            owner=None if uid is None and gid is None else (uid or 0, gid or 0),
        )


def _mount(mount: dict[str, Any], path: str) -> Mount:
    options = tuple(mount.get("options") or ())
    kind = mount.get("type") or "bind"
    propagation = next((option for option in options if option in _PROPAGATIONS), "rprivate")
    rest = tuple(option for option in options if option not in (*_PROPAGATIONS, "ro", "rw", "bind", "rbind"))
    if kind not in ("bind", "tmpfs") or (kind == "bind" and not mount["hostPath"].startswith("/")):
        raise Unsupported(
            f"CDI file {path}", f"a mount of type {kind[:40]} cannot be given", hint="use another device"
        )
    return Mount(
        destination=mount["containerPath"],
        source="" if kind == "tmpfs" else mount["hostPath"],
        read_only="ro" in options,
        propagation=propagation if propagation.startswith("r") else f"r{propagation}",
        options=rest,
    )
