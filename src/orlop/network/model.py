"""Requests to a network and what it gave."""

from __future__ import annotations

from orlop.kit.value import dataclass


@dataclass(frozen=True)
class PortMapping:
    """A port of the machine that leads into the pod. `protocol` is tcp, udp or sctp."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True)
class Attachment:
    """A pod that wants into a network. `id` is the CNI container ID, `netns` the pinned namespace's path."""

    id: str
    netns: str
    name: str
    namespace: str = "default"
    uid: str = ""
    ports: tuple[PortMapping, ...] = ()
    interface: str = "eth0"


@dataclass(frozen=True)
class Addresses:
    """What the network gave: addresses without prefix length, the first one first."""

    ips: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    mac: str = ""
