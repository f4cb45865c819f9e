"""Counts of a network namespace, by interface, as the kernel keeps them (proc_pid_net(5), dev)."""

from __future__ import annotations

from orlop.kit.value import dataclass


@dataclass(frozen=True)
class Interface:
    """One network interface: what it received and sent since it was made."""

    name: str
    received: int = 0  # bytes
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent: int = 0  # bytes
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


def interfaces(path: str) -> tuple[Interface, ...]:
    """All but loopback, in the kernel's order, from a `net/dev` file; none where the process is gone."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            lines = [line.rpartition(":") for line in stream]
    except OSError:
        return ()
    found: list[Interface] = []
    for name, _, numbers in lines:
        counts = [int(word) for word in numbers.split() if word.isdigit()]
        if name and name.strip() != "lo" and len(counts) >= 12:
            found.append(Interface(name.strip(), *counts[0:4], *counts[8:12]))
    return tuple(found)
