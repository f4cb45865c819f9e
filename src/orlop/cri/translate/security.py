"""LinuxContainerSecurityContext into `Security`."""

from __future__ import annotations

from collections.abc import Iterable

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.errors import InvalidInput
from orlop.pod.model import SandboxConfig
from orlop.runtime.model import Security

_HIGHEST_ID = 2**31 - 1


def security(asked: pb.LinuxContainerConfig, pod: SandboxConfig, subject: str) -> Security:
    """Raises InvalidInput naming the field that is wrong."""
    context = asked.security_context
    if context.privileged and not pod.privileged:
        raise InvalidInput(
            subject, "is privileged and its pod is not", hint="make the pod's sandbox privileged too"
        )
    given = asked.HasField("security_context")  # then empty lists of paths mean that none are hidden
    return Security(
        privileged=context.privileged,
        user=_user(context, subject),
        groups=tuple(_identifier(group, f"{subject}: group") for group in context.supplemental_groups),
        groups_policy="strict" if context.supplemental_groups_policy == pb.Strict else "merge",
        add_capabilities=tuple(context.capabilities.add_capabilities),
        drop_capabilities=tuple(context.capabilities.drop_capabilities),
        ambient_capabilities=tuple(context.capabilities.add_ambient_capabilities),
        read_only_root=context.readonly_rootfs,
        no_new_privileges=context.no_new_privs,
        seccomp=_seccomp(context, subject),
        masked_paths=_paths(context.masked_paths, f"{subject}: masked_paths") if given else None,
        read_only_paths=_paths(context.readonly_paths, f"{subject}: readonly_paths") if given else None,
        apparmor="" if context.privileged else _apparmor(context),
        selinux=_selinux(context, subject),
    )


def _user(asked: pb.LinuxContainerSecurityContext, subject: str) -> str:
    name = asked.run_as_username
    if ":" in name or "\0" in name:
        raise InvalidInput(
            f"{subject}: run_as_username {name[:80]!r}", "is no name", hint="as in /etc/passwd"
        )
    if asked.HasField("run_as_user"):
        if name:
            raise InvalidInput(subject, "has run_as_user and run_as_username", hint="give one of them")
        name = str(_identifier(asked.run_as_user.value, f"{subject}: run_as_user"))
    if not asked.HasField("run_as_group"):
        return name
    if not name:
        raise InvalidInput(
            f"{subject}: run_as_group", "without run_as_user or run_as_username", hint="give the user too"
        )
    return f"{name}:{_identifier(asked.run_as_group.value, f'{subject}: run_as_group')}"


def _identifier(number: int, subject: str) -> int:
    """Also against numbers that would wrap around to root (CVE-2024-40635's class)."""
    if not 0 <= number <= _HIGHEST_ID:
        raise InvalidInput(subject, f"{number} is not an ID", hint=f"from 0 to {_HIGHEST_ID}")
    return number


def _paths(asked: Iterable[str], subject: str) -> tuple[str, ...]:
    found = tuple(asked)
    for path in found:
        if not path.startswith("/") or "\0" in path:
            raise InvalidInput(f"{subject}: {path[:80]!r}", "is not absolute", hint="begin it with /")
    return found


def _seccomp(asked: pb.LinuxContainerSecurityContext, subject: str) -> str:
    """As `Security.seccomp` has it; nothing given is "unconfined", as the CRI says. Raises InvalidInput."""
    old = asked.seccomp_profile_path
    if asked.HasField("seccomp"):
        reference = _reference(asked.seccomp)
    elif old.startswith("localhost/"):
        reference = old.removeprefix("localhost/")
    else:
        reference = {"runtime/default": "default", "docker/default": "default", "": "unconfined"}.get(
            old, old
        )
    if reference not in ("default", "unconfined") and not reference.startswith("/"):
        raise InvalidInput(
            f"{subject}: seccomp profile {reference[:80]!r}",
            "is not an absolute path",
            hint="begin it with /",
        )
    return reference


def _apparmor(asked: pb.LinuxContainerSecurityContext) -> str:
    """The profile's name; "": none. Orlop brings none of its own, so its default is none as well.

    Some clients keep the old field's "localhost/" in the new one: containerd and CRI-O take both.
    """
    old = asked.apparmor_profile
    if asked.HasField("apparmor"):
        reference = _reference(asked.apparmor)
    else:
        known = {"runtime/default": "default", "unconfined": "unconfined", "": "default"}
        reference = known.get(old, old)
    return "" if reference in ("default", "unconfined") else reference.removeprefix("localhost/")


def _reference(profile: pb.SecurityProfile) -> str:
    kinds = {pb.SecurityProfile.RuntimeDefault: "default", pb.SecurityProfile.Unconfined: "unconfined"}
    return kinds.get(profile.profile_type, profile.localhost_ref)


def _selinux(asked: pb.LinuxContainerSecurityContext, subject: str) -> str:
    """user:role:type:level; what is left out is as containers have it everywhere."""
    if not asked.HasField("selinux_options"):
        return ""
    options = asked.selinux_options
    parts = (options.user, options.role, options.type, options.level)
    if not any(parts):
        return ""
    if any(":" in part for part in parts[:3]):
        raise InvalidInput(f"{subject}: selinux_options", "a part holds a colon", hint="one part a field")
    defaults = ("system_u", "system_r", "container_t", "s0")
    return ":".join(part or default for part, default in zip(parts, defaults, strict=True))
