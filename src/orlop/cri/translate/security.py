"""LinuxContainerSecurityContext into `Security`."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.errors import InvalidInput
from orlop.pod.model import SandboxConfig
from orlop.runtime.model import Security

_IDS = 2**32 - 1  # one less than the highest: that one means "unchanged" to the kernel


def security(asked: pb.LinuxContainerSecurityContext, pod: SandboxConfig, subject: str) -> Security:
    """Raises InvalidInput naming the field that is wrong."""
    if asked.privileged and not pod.privileged:
        raise InvalidInput(
            subject, "is privileged and its pod is not", hint="make the pod's sandbox privileged too"
        )
    return Security(
        privileged=asked.privileged,
        user=_user(asked, subject),
        groups=tuple(_identifier(group, f"{subject}: group") for group in asked.supplemental_groups),
        groups_policy="strict" if asked.supplemental_groups_policy == pb.Strict else "merge",
        add_capabilities=tuple(asked.capabilities.add_capabilities),
        drop_capabilities=tuple(asked.capabilities.drop_capabilities),
        ambient_capabilities=tuple(asked.capabilities.add_ambient_capabilities),
        read_only_root=asked.readonly_rootfs,
        no_new_privileges=asked.no_new_privs,
        seccomp=_seccomp(asked, subject),
    )


def _user(asked: pb.LinuxContainerSecurityContext, subject: str) -> str:
    name = asked.run_as_username
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
    if not 0 <= number < _IDS:
        raise InvalidInput(subject, f"{number} is not an ID", hint=f"from 0 to {_IDS - 1}")
    return number


def _seccomp(asked: pb.LinuxContainerSecurityContext, subject: str) -> str:
    """As `Security.seccomp` has it."""
    if asked.HasField("seccomp"):
        kind = asked.seccomp.profile_type
        if kind == pb.SecurityProfile.RuntimeDefault:
            return "default"
        if kind == pb.SecurityProfile.Unconfined:
            return "unconfined"
        reference = asked.seccomp.localhost_ref
    else:
        old = asked.seccomp_profile_path
        if old in ("", "unconfined"):
            return "unconfined"
        if old in ("runtime/default", "docker/default"):
            return "default"
        reference = old.removeprefix("localhost/") if old.startswith("localhost/") else old
    if not reference.startswith("/"):
        raise InvalidInput(
            f"{subject}: seccomp profile {reference!r}", "is not an absolute path", hint="begin it with /"
        )
    return reference
