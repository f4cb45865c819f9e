"""Kernel parameters of a container: namespaced ones only, and nothing that could be two (CVE-2022-0811)."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.errors import InvalidInput
from orlop.runtime.model import Namespaces

_IPC = ("kernel.shm", "kernel.msg", "fs.mqueue.")
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def checked(sysctls: Mapping[str, str], namespaces: Namespaces) -> dict[str, str]:
    """The parameters, if a container may have them. Raises InvalidInput."""
    named: dict[str, str] = {}
    for key, value in sysctls.items():
        name = key.replace("/", ".")
        if not name or not _CHARACTERS.issuperset(name) or ".." in name or name[0] in ".-":
            raise InvalidInput(
                f"sysctl {key!r}", "is no name of a sysctl", hint="write it as net.core.somaxconn"
            )
        if any(character in value for character in "\n\r\0+=") or not value.isprintable():
            raise InvalidInput(
                f"sysctl {name}", "its value has a character that no value has", hint="give one plain value"
            )
        _allowed(name, namespaces)
        named[name] = value
    return named


def _allowed(name: str, namespaces: Namespaces) -> None:
    if name.startswith("net."):
        shared = namespaces.network == "host"
    elif name == "kernel.sem" or name.startswith(_IPC):
        shared = namespaces.ipc == "host"
    else:
        raise InvalidInput(
            f"sysctl {name}", "belongs to the whole machine, not to a namespace", hint="set it on the machine"
        )
    if shared:
        raise InvalidInput(
            f"sysctl {name}",
            "would change the machine: its namespace is the host's",
            hint="set it on the machine",
        )
