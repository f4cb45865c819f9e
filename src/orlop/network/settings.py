"""The section `[network]` of the node's configuration."""

from __future__ import annotations

from orlop.kit.value import dataclass


@dataclass(frozen=True)
class NetworkSettings:
    """How pods get onto a network.

    `config_dir` empty: Orlop's own bridge network; else a folder of CNI configurations (such as
    /etc/cni/net.d), of which the first by name counts, or the one called `name`. `subnet` is the pool that
    the own network takes a /24 from, `mtu` 0 takes that of the machine's way out. `builtin` are types
    served in process where their configuration allows it (bridge brings host-local); none: all are executed.
    """

    plugin_dirs: tuple[str, ...] = ("/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni")
    config_dir: str = ""
    name: str = ""
    subnet: str = "10.90.0.0/16"
    mtu: int = 0
    builtin: tuple[str, ...] = ("bridge", "loopback", "portmap")
