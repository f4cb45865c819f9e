"""ContainerSpec -> config.json (OCI runtime-spec, config.md and config-linux.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass
from orlop.runtime import sysctls, users
from orlop.runtime.features import Features
from orlop.runtime.model import ContainerSpec, Resources
from orlop.runtime.rights import Rights
from orlop.runtime.spec import annotations as annotations_
from orlop.runtime.spec import (
    capabilities,
    devices,
    hooks,
    linux,
    mounts,
    process,
    resources,
    seccomp,
)

_SECCOMP_HERE = '"seccomp":"@"'


@dataclass(frozen=True)
class Machine:
    """What a config.json depends on besides the container."""

    features: Features
    rights: Rights
    unified: bool  # cgroup v2
    cache: str  # folder for the seccomp profile's text
    systemd: bool = False  # whether systemd makes the cgroups
    swap: bool = True  # whether the kernel accounts swap
    huge_pages: bool = True  # whether there is a hugetlb controller


def config(spec: ContainerSpec, machine: Machine, sources: Mapping[int, str]) -> bytes:
    """The bytes of config.json. `sources` are resolved places of mounts with a sub_path, by their index.

    Raises InvalidInput for what cannot be, NotFound for a mount's or a device's source that is absent.
    """
    if len(spec.id) < 4 or not spec.id.isascii() or not spec.id.replace("-", "").replace("_", "").isalnum():
        raise InvalidInput(f"container {spec.id}", "is no container ID", hint="give 64 hex digits")
    security = spec.security
    user = spec.identity or users.resolve(spec.root, security.user, security.groups, security.groups_policy)
    held = capabilities.effective(security, machine.rights)
    found = devices.found(spec)
    whole: dict[str, object] = {
        "ociVersion": machine.features.spec_version,
        "process": process.process(spec, user, held, capabilities.ambient(security, held), machine.rights),
        "root": {"path": spec.root, "readonly": security.read_only_root},
        "mounts": mounts.mounts(spec, machine.features, sources=sources),
        "annotations": {**annotations_.checked(spec.annotations), **_own_words(spec, machine)},
        "linux": {
            "namespaces": linux.namespaces(spec.namespaces, unified=machine.unified),
            "cgroupsPath": linux.cgroup_path(spec, systemd=machine.systemd),
            "resources": resources.resources(spec, machine, found),
            "devices": devices.nodes(found),
            "sysctl": sysctls.validate(
                spec.sysctls,
                host_network=spec.namespaces.network == "host",
                host_ipc=spec.namespaces.ipc == "host",
            ),
            "rootfsPropagation": mounts.root_propagation(spec.mounts),
            **linux.paths(security),
            **linux.mappings(spec),
        },
    }
    if spec.hooks:
        whole["hooks"] = hooks.hooks(spec.hooks)
    if spec.namespaces.uts == "" and spec.hostname:
        whole["hostname"] = spec.hostname
    part = whole["linux"]
    assert isinstance(part, dict)
    if spec.extra:
        lay(whole, spec.extra)
        if "seccomp" in part:
            return json.dumps(whole, separators=(",", ":")).encode()
    if machine.features.name == "crun":
        _give_filter(whole, seccomp.compiled(security, held, machine.cache))
    profile = seccomp.text(security, held, machine.cache)
    if profile is None:
        return json.dumps(whole, separators=(",", ":")).encode()
    part["seccomp"] = "@"
    # The profile is large and nearly always the same: its text is kept and put in, never encoded again. A
    # user's string cannot look like the place, because its quotation marks would be escaped.
    text = json.dumps(whole, separators=(",", ":"))
    return text.replace(_SECCOMP_HERE, '"seccomp":' + profile, 1).encode()


def _own_words(spec: ContainerSpec, machine: Machine) -> dict[str, str]:
    """Processes and limits in systemd's scope itself, as runc has it: crun would make a group in there.

    systemd has to know the limits, or it resets them when it reloads.
    """
    if not machine.systemd or machine.features.name != "crun":
        return {}
    from orlop.runtime.cgroups import systemd

    limited = Resources(**{**vars(spec.resources), "pids": spec.resources.pids or limits.PIDS_PER_CONTAINER})
    known = systemd.properties(limited, unified=machine.unified)
    words = {f"org.systemd.property.{name}": f"uint64 {value}" for name, _, value in known}
    return {"run.oci.systemd.subgroup": "", **words}


def lay(below: dict[str, object], above: Mapping[str, object]) -> None:
    """Lay `above` over `below`: mappings into mappings, lists behind lists, anything else instead."""
    for key, value in above.items():
        here = below.get(key)
        if isinstance(here, dict) and isinstance(value, Mapping):
            lay(here, value)
        elif isinstance(here, list) and isinstance(value, list):
            here.extend(value)
        else:
            below[key] = value


def _give_filter(whole: dict[str, object], compiled: str | None) -> None:
    """crun takes a finished filter in this annotation; where it does not know it, it compiles the profile."""
    given = whole["annotations"]
    assert isinstance(given, dict)
    if compiled is not None:
        given["run.oci.seccomp_bpf_data"] = compiled
