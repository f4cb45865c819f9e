"""What the kernel's security modules confine a process by: an AppArmor profile, an SELinux label."""

from __future__ import annotations

import os

from orlop.kit.errors import InvalidInput, NotFound, Unsupported
from orlop.runtime.model import Security

_APPARMOR = "/sys/module/apparmor/parameters/enabled"
_PROFILES = "/sys/kernel/security/apparmor/profiles"
_SELINUX = "/sys/fs/selinux/enforce"


def of_process(security: Security) -> dict[str, object]:
    """`apparmorProfile` and `selinuxLabel` (config.md, "Linux Process"); neither for a privileged container.

    A label is passed over where the kernel has no SELinux, as everybody does: it names a part of the policy,
    whereas a profile is a promise. Raises Unsupported (no AppArmor in this kernel), NotFound (no such
    profile), InvalidInput.
    """
    part: dict[str, object] = {}
    if security.privileged:
        return part
    if security.apparmor:
        part["apparmorProfile"] = _profile(security.apparmor)
    if security.selinux and os.path.exists(_SELINUX):
        part["selinuxLabel"] = _plain("SELinux label", security.selinux)
    return part


def has_apparmor() -> bool:
    """Whether this kernel confines by AppArmor."""
    return _read(_APPARMOR).startswith("Y")


def _profile(name: str) -> str:
    subject = f"AppArmor profile {_plain('AppArmor profile', name)}"
    if not has_apparmor():
        raise Unsupported(subject, "this kernel has no AppArmor", hint="leave the profile out")
    if not any(line.rpartition(" (")[0] == name for line in _read(_PROFILES).splitlines()):
        raise NotFound(subject, "is not loaded", hint="load it with apparmor_parser")
    return name


def _plain(what: str, text: str) -> str:
    if not text.isprintable() or " " in text:
        raise InvalidInput(f"{what} {text!r}", "is malformed", hint="give its name alone")
    return text


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
