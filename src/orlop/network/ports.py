"""Ports of the machine: whether they are free. The portmap plugin itself lets two pods claim the same one."""

from __future__ import annotations

import errno

from orlop.kit.errors import Conflict, InvalidInput
from orlop.network.model import PortMapping
from orlop.network.records import Record

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

_PROTOCOLS = ("tcp", "udp", "sctp")
_ANY = ("", "0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)


def mappings(ports: Iterable[PortMapping]) -> list[dict[str, Any]]:
    """The capability `portMappings` as CNI's conventions write it. Raises InvalidInput."""
    found = []
    for port in ports:
        protocol = port.protocol.lower()
        if protocol not in _PROTOCOLS or not _valid(port.host_port) or not _valid(port.container_port):
            raise InvalidInput(
                f"port {port.host_port}:{port.container_port}/{port.protocol}",
                "is not a port mapping",
                hint="ports are 1 to 65535, protocols tcp, udp and sctp",
            )
        entry: dict[str, Any] = {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": protocol,
        }
        if port.host_ip:
            entry["hostIP"] = port.host_ip
        found.append(entry)
    return found


def check_free(wanted: Sequence[dict[str, Any]], records: Iterable[Record], pod_id: str) -> None:
    """Raises Conflict where another pod, another tool's rules or a process has one of the ports."""
    for position, entry in enumerate(wanted):
        if any(_overlap(entry, other) for other in wanted[:position]):
            raise InvalidInput(_name(entry), "is asked for twice by one pod", hint="keep one of the two")
    for record in records:
        if record.id == pod_id:
            continue
        for other in record.capabilities.get("portMappings", ()):
            for entry in wanted:
                if _overlap(entry, other):
                    raise _taken(entry, f"is held by pod {record.pod or record.id}", "stop that pod")
    _check_rules(wanted, pod_id)
    for entry in wanted:
        _check_bind(entry)


def _check_rules(wanted: Sequence[dict[str, Any]], pod_id: str) -> None:
    """Other nodes of this machine and other CNI users leave their claims in portmap's own chain."""
    from orlop.network import rules

    for line in rules.listed("nat"):
        words = line.split()
        if (
            not line.startswith("-A CNI-HOSTPORT-DNAT ")
            or "--dports" not in words
            or f'id: \\"{pod_id}\\"' in line
        ):
            continue
        protocol = words[words.index("-p") + 1] if "-p" in words else ""
        claimed = words[words.index("--dports") + 1].split(",")
        for entry in wanted:
            if entry["protocol"] == protocol and str(entry["hostPort"]) in claimed:
                owner = line.partition("--comment ")[2].partition(" -m ")[0].replace('\\"', "").strip('"')
                raise _taken(entry, f"is forwarded already ({owner})", "choose another port")


def _check_bind(entry: dict[str, Any]) -> None:
    import socket  # only pods with host ports pay for it

    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    kind = kinds.get(entry["protocol"])
    if kind is None:
        return
    address = entry.get("hostIP", "") or "0.0.0.0"  # noqa: S104 (to see that it is free)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:  # or connections that ended a minute ago would count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, entry["hostPort"]))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(
                    entry,
                    "is in use by a process of this machine",
                    f"see which with: ss -lnp 'sport = :{entry['hostPort']}'",
                ) from error
            if error.errno != errno.EADDRNOTAVAIL:  # an address that the machine gets later is allowed
                raise InvalidInput(
                    _name(entry), f"cannot be bound: {error.strerror}", hint="correct the host address"
                ) from error


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    first, second = one.get("hostIP", ""), other.get("hostIP", "")
    same = first == second or first in _ANY or second in _ANY
    return same and all(one[key] == other[key] for key in ("hostPort", "protocol"))


def _taken(entry: dict[str, Any], cause: str, hint: str) -> Conflict:
    return Conflict(_name(entry), cause, hint=hint)


def _name(entry: dict[str, Any]) -> str:
    host = f"{entry['hostIP']}:" if entry.get("hostIP") else ""
    return f"host port {host}{entry['hostPort']}/{entry['protocol']}"


def _valid(port: int) -> bool:
    return 0 < port < 65536
