"""What is known of the machine and of a started pod: everything that a Pod's YAML cannot know."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from orlop.kit.node import Node
from orlop.network.model import Addresses
from orlop.pod import etc
from orlop.pod.model import DNS, SandboxConfig


@dataclass(frozen=True)
class Facts:
    """`cpu` in thousandths of a core, `memory` in bytes; `pod_ips` is empty until the sandbox runs."""

    node_name: str
    host_ips: tuple[str, ...]
    cpu: int
    memory: int
    seccomp_root: str  # where Localhost profiles are: <node.root>/seccomp
    pod_ips: tuple[str, ...] = ()
    dns: DNS = DNS()  # the machine's, as far as a pod can use it


def facts(node: Node, *, pod_ips: tuple[str, ...] = ()) -> Facts:
    """Those of this machine. `pod_ips`: the sandbox's addresses; the machine's on the host's network."""
    return Facts(
        node_name=os.uname().nodename.lower(),
        host_ips=_addresses(),
        cpu=1000 * len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        seccomp_root=node.in_root("seccomp"),
        pod_ips=pod_ips,
        dns=machine_dns(),
    )


def machine_dns() -> DNS:
    """resolv.conf of this machine without its loopback servers."""
    text = etc.resolv_conf(SandboxConfig(name="any", uid="any"), Addresses())
    words = [line.split() for line in text.splitlines() if line and line[0] not in "#;"]
    return DNS(
        servers=tuple(line[1] for line in words if len(line) > 1 and line[0] == "nameserver"),
        searches=next((tuple(line[1:]) for line in reversed(words) if line[:1] == ["search"]), ()),
        options=tuple(word for line in words if line[:1] == ["options"] for word in line[1:]),
    )


def _addresses() -> tuple[str, ...]:
    """The address that this machine is reached at: the one on its default route (no packet is sent)."""
    found = []
    for family, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((anywhere, 9))
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue  # no route in this family
    return tuple(found) or ("127.0.0.1",)
