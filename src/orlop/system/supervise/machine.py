"""What played pods are told of the machine (downward API, defaults of limits)."""

from __future__ import annotations

import os
import socket

from orlop.kit.node import Node
from orlop.system.kube.facts import Facts

_ELSEWHERE = (socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")  # documentation: never sent to


def facts(node: Node, pod_ips: tuple[str, ...] = ()) -> Facts:
    """The machine as it is now, with the addresses of a started pod."""
    return Facts(
        node_name=os.uname().nodename,
        host_ips=_host_ips(),
        cpu=1000 * len(os.sched_getaffinity(0)),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        seccomp_root=node.in_root("seccomp"),
        pod_ips=pod_ips,
    )


def _host_ips() -> tuple[str, ...]:
    """The addresses that traffic to elsewhere would leave from; loopback where there is no way out."""
    found = []
    for family, address in _ELSEWHERE:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((address, 9))  # datagram: asks the routing table, sends nothing
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return tuple(found) or ("127.0.0.1",)
