"""Kernel parameters of a container: namespaced ones only, and nothing that could be two (CVE-2022-0811)."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.errors import InvalidInput

_IPC = ("kernel.shm", "kernel.msg", "fs.mqueue.")
_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def validate(sysctls: Mapping[str, str], *, host_network: bool, host_ipc: bool) -> dict[str, str]:
    """The parameters in their dotted form, if a container or pod may have them. Raises InvalidInput."""
    named: dict[str, str] = {}
    for key, value in sysctls.items():
        name = key.replace("/", ".")
        if not name or not _CHARACTERS.issuperset(name) or ".." in name or name[0] in ".-":
            raise InvalidInput(
                f"sysctl {key!r}", "is no name of a sysctl", hint="write it as net.core.somaxconn"
            )
        if any(character in value for character in "\n\r\0+=") or not value.replace("\t", " ").isprintable():
            raise InvalidInput(
                f"sysctl {name}", "its value has a character that no value has", hint="give one plain value"
            )
        if name.startswith("net."):
            shared = host_network
        elif name == "kernel.sem" or name.startswith(_IPC):
            shared = host_ipc
        else:
            raise InvalidInput(
                f"sysctl {name}", "belongs to the whole machine, not to a namespace", hint="set it there"
            )
        if shared:
            raise InvalidInput(
                f"sysctl {name}", "would change the machine: its namespace is the host's", hint="set it there"
            )
        named[name] = value
    return named
