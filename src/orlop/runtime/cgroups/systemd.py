"""Slices of our own under systemd: it makes them, limits them and takes them away (org.freedesktop.systemd1).

What is below a slice of somebody else's is not for here: the OCI runtime makes scopes, the kubelet slices.
"""

from __future__ import annotations

import contextlib
import os

from orlop.kit import limits, process
from orlop.kit.errors import InvalidInput
from orlop.runtime.cgroups.port import Cgroups
from orlop.runtime.model import Resources

INFINITE = (1 << 64) - 1  # systemd's "no limit"
_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")


def create(cgroups: Cgroups, path: str, resources: Resources) -> None:
    """The slice at `path` is there, with these limits. Raises InvalidInput where they are refused.

    systemd keeps the limits that it has names for, or it would reset them; the kernel's files get all.
    """
    unit = os.path.basename(path)
    given = properties(resources, unified=cgroups.unified)
    words = [word for name, kind, value in given for word in (name, kind, value)]
    made = _call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", str(len(given)), *words, "0")
    if made.status != 0:
        done = _call("SetUnitProperties", "sba(sv)", unit, "true", str(len(given)), *words)
        if done.status != 0:
            said = (done.stderr or made.stderr).decode(errors="replace").strip()
            raise InvalidInput(f"slice {unit}", f"systemd refuses it: {said}", hint="give other limits")
    cgroups.create(path, resources)


def limit(cgroups: Cgroups, path: str, resources: Resources) -> None:
    """Change the limits of a slice or scope that is there. Raises Conflict where it is not, InvalidInput."""
    given = properties(resources, unified=cgroups.unified)
    words = [word for name, kind, value in given for word in (name, kind, value)]
    if given:
        _call("SetUnitProperties", "sba(sv)", os.path.basename(path), "true", str(len(given)), *words)
    cgroups.limit(path, resources)


def remove(cgroups: Cgroups, path: str) -> None:
    """The slice at `path` is gone with all below; an absent one is fine. Raises Conflict."""
    unit = os.path.basename(path)
    if any(os.path.isdir(tree + path) for tree in cgroups.trees()):
        argv = ["systemctl", "--quiet", "--no-ask-password", "stop", unit]
        process.run(argv, timeout=limits.RUNTIME_TIMEOUT, check=False)
    cgroups.remove(path)


def properties(asked: Resources, *, unified: bool) -> list[tuple[str, str, str]]:
    """Name, D-Bus type and value of systemd.resource-control(5)'s words for these limits."""
    from orlop.runtime.cgroups import v2
    from orlop.runtime.spec import resources

    found: list[tuple[str, str, str]] = []
    shares, quota, period = resources.cpu(asked)
    if shares and unified:
        found.append(("CPUWeight", "t", str(v2.weight(shares))))
    elif shares:
        found.append(("CPUShares", "t", str(shares)))
    if quota:
        each = quota * 1_000_000 // (period or resources.PERIOD) if quota > 0 else INFINITE
        found.append(("CPUQuotaPerSecUSec", "t", str(each)))
    if asked.memory_limit:
        memory = asked.memory_limit if asked.memory_limit > 0 else INFINITE
        found.append(("MemoryMax" if unified else "MemoryLimit", "t", str(memory)))
    if asked.memory_request and unified:
        found.append(("MemoryLow", "t", str(asked.memory_request)))
    if asked.pids:
        found.append(("TasksMax", "t", str(asked.pids)))
    return found


def _call(method: str, signature: str, *words: str) -> process.Completed:
    argv = ["busctl", "--quiet", "call", *_MANAGER, method, signature, *words]
    with contextlib.suppress(FileNotFoundError):
        return process.run(argv, timeout=limits.RUNTIME_TIMEOUT, check=False)
    return process.Completed(tuple(argv), 127, b"", b"no busctl")
