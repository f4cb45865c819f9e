"""What is known of the machine and of a started pod: everything that a Pod's YAML cannot know."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """`cpu` in thousandths of a core, `memory` in bytes; `pod_ips` is empty until the sandbox runs."""

    node_name: str
    host_ips: tuple[str, ...]
    cpu: int
    memory: int
    seccomp_root: str  # where Localhost profiles are: <node.root>/seccomp
    pod_ips: tuple[str, ...] = ()
