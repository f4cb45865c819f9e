"""Validation of a container's securityContext."""

from __future__ import annotations

import re

from orlop.system.kube import names
from orlop.system.kube.findings import Findings
from orlop.system.kube.model import AppArmorProfile, SeccompProfile, SecurityContext
from orlop.system.kube.problem import Path

LARGEST_ID = 2**31 - 1
_CAPABILITY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_container_security(found: Findings, path: Path, context: SecurityContext) -> None:
    for field, number in (("runAsUser", context.run_as_user), ("runAsGroup", context.run_as_group)):
        found.between((*path, field), number, 0, LARGEST_ID)
    if context.allow_privilege_escalation is False:
        here = (*path, "allowPrivilegeEscalation")
        if context.privileged:
            found.error(here, "cannot be false where privileged is true")
        if "SYS_ADMIN" in {name.upper().removeprefix("CAP_") for name in context.capabilities.add}:
            found.error(here, "cannot be false where capability SYS_ADMIN is added")
    for field, given in (("add", context.capabilities.add), ("drop", context.capabilities.drop)):
        found.each((*path, "capabilities", field), given, _capability)
    check_seccomp(found, (*path, "seccompProfile"), context.seccomp_profile)
    check_app_armor(found, (*path, "appArmorProfile"), context.app_armor_profile)


def check_seccomp(found: Findings, path: Path, profile: SeccompProfile | None) -> None:
    if profile is None:
        return
    here = (*path, "localhostProfile")
    if profile.type == "Localhost":
        found.error(here, names.inner_path(profile.localhost_profile))
    elif profile.localhost_profile:
        found.error(here, "is for type Localhost")


def check_app_armor(found: Findings, path: Path, profile: AppArmorProfile | None) -> None:
    if profile is not None and profile.type == "Localhost":
        found.error((*path, "type"), "Localhost is not supported: AppArmor profiles are not set")
    elif profile is not None and profile.type == "RuntimeDefault":
        found.warn((*path, "type"), "has no effect: AppArmor profiles are not set")


def _capability(name: str) -> str:
    return "" if _CAPABILITY.fullmatch(name) else f"{name!r} is no capability, such as NET_ADMIN"
