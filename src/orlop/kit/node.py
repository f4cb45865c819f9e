"""Which node this is: its folders. Several independent nodes can live on one machine.

    root   (/var/lib/orlop)   what a reboot keeps: images, layers, records, volumes
    state  (/run/orlop)       what a reboot forgets: namespaces, sockets, bundles, locks, runtime state
    config (/etc/orlop/orlop.toml)

All names that live outside these folders (bridges, cgroups, iptables chains) carry `identity`.
"""

from __future__ import annotations

import os

from orlop.kit.value import dataclass

DEFAULT_ROOT = "/var/lib/orlop"
DEFAULT_STATE = "/run/orlop"
DEFAULT_CONFIG = "/etc/orlop/orlop.toml"


@dataclass(frozen=True)
class Node:
    """The folders of one node, absolute. The value is passed explicitly; there is no global node."""

    root: str = DEFAULT_ROOT
    state: str = DEFAULT_STATE
    config: str = DEFAULT_CONFIG

    @property
    def identity(self) -> str:
        """`orlop` for the default root, `orlop-` and the CRC-32 of its path for any other."""
        if self.root == DEFAULT_ROOT:
            return "orlop"
        import zlib  # of a few names on one machine; hashlib starts OpenSSL, 4 ms

        return f"orlop-{zlib.crc32(self.root.encode()):08x}"

    def in_root(self, *parts: str) -> str:
        return os.path.join(self.root, *parts)

    def in_state(self, *parts: str) -> str:
        return os.path.join(self.state, *parts)


def boot_id() -> str:
    """The kernel's name for this boot: records of another boot describe processes that are gone."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()
