"""A plugin's call: what CNI puts into the environment and the standard input of a program."""

from __future__ import annotations

from orlop.kit.value import dataclass, field
from orlop.network.plugin import PluginFailed

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_INTERNAL = 999  # the plugins' own code for whatever has none of the specification's


@dataclass(frozen=True)
class Call:
    """One request to one plugin. `config` is the execution configuration, prevResult and runtimeConfig in it.

    `netns` is empty where the namespace is gone. `going`: it is removed right after this DEL, and
    its interfaces with it.
    """

    command: str
    config: Mapping[str, Any]
    id: str = ""
    netns: str = ""
    interface: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    going: bool = False

    @property
    def network(self) -> str:
        return str(self.config.get("name", ""))

    @property
    def runtime(self) -> Mapping[str, Any]:
        found = self.config.get("runtimeConfig")
        return found if isinstance(found, dict) else {}

    @property
    def cni_args(self) -> Mapping[str, Any]:
        """`args.cni` of the configuration."""
        args = self.config.get("args")
        found = args.get("cni") if isinstance(args, dict) else None
        return found if isinstance(found, dict) else {}

    def failed(self, cause: str, *, code: int = _INTERNAL) -> PluginFailed:
        """The error that the executed plugin would have given."""
        of = f" of network {self.network}" if self.network else ""
        return PluginFailed(
            f"{self.command} by CNI plugin {self.config.get('type', '')}{of}",
            f"{cause} (code {code})",
            hint="remove pods, or give the network a larger subnet"
            if "no IP addresses available" in cause
            else "correct what the plugin complains of, then run the command again",
            code=code,
        )
