"""Requests to a network and what it gave."""

from __future__ import annotations

from orlop.kit.value import dataclass, field

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


@dataclass(frozen=True)
class PortMapping:
    """A port of the machine that leads into the pod. `protocol` is tcp, udp or sctp."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True)
class Attachment:
    """A pod that wants into a network. `id` is the CNI container ID, `netns` the pinned namespace's path.

    `ips` (with prefix length) and `mac` ask for what is given out otherwise; `capabilities` are any others of
    CNI's conventions by name (`bandwidth`, `dns`, ...).
    """

    id: str
    netns: str
    name: str
    namespace: str = "default"
    uid: str = ""
    ports: tuple[PortMapping, ...] = ()
    interface: str = "eth0"
    ips: tuple[str, ...] = ()
    mac: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Addresses:
    """What the network gave: addresses without prefix length, the first one first."""

    ips: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    mac: str = ""
