"""Which capabilities(7) a container has."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.runtime.model import Security
from orlop.runtime.rights import CAPABILITIES, Rights

#: Those that the field (CRI-O) gives where nobody asks.
DEFAULT = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "KILL",
]


def effective(security: Security, rights: Rights) -> list[str]:
    """The names without CAP_, cut to what this process has. Raises InvalidInput for an unknown one.

    As the field has it: ALL first, then single ones; a capability both added and dropped is dropped, unless
    ALL was dropped, which then is only the base to add to. An ambient one is added as well: it means nothing
    unless it is also permitted.
    """
    added = [normal(name) for name in (*security.add_capabilities, *security.ambient_capabilities)]
    dropped = [normal(name) for name in security.drop_capabilities]
    if security.privileged:
        return rights.held(CAPABILITIES, quiet=True)
    base = set(DEFAULT)
    if "ALL" in dropped:
        base = set()
    if "ALL" in added:
        base = set(CAPABILITIES) & rights.capabilities
    base |= set(added) - {"ALL"}
    if "ALL" not in dropped or "ALL" in added:
        base -= set(dropped)
    else:
        base -= set(dropped) - {"ALL"}
    return rights.held(base)


def ambient(security: Security, held: list[str]) -> list[str]:
    """Those that a user who is not root keeps: asked for as such, and held."""
    if not security.ambient_capabilities:
        return []
    asked = {normal(name) for name in security.ambient_capabilities}
    return [name for name in held if name in asked or "ALL" in asked]


def normal(name: str) -> str:
    """`net_admin`, `CAP_NET_ADMIN` -> `NET_ADMIN`; ALL is a name, too."""
    short = name.upper().removeprefix("CAP_")
    if short != "ALL" and short not in CAPABILITIES:
        raise InvalidInput(f"capability {name}", "no such capability", hint="see capabilities(7)")
    return short
