"""The section [nri] of the configuration."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.kit.node import DEFAULT_ROOT, Node
from orlop.kit.value import dataclass

DEFAULT_SOCKET = "/var/run/nri/nri.sock"  # where plugins look


@dataclass(frozen=True)
class NriSettings:
    """Who may take part, and what the built-in validator forbids.

    Times in seconds. `socket_path` empty is /var/run/nri/nri.sock for the machine's own node, and `nri.sock`
    in the state folder of any other. The validator (`validate`) looks at what all plugins together want of a
    new container: the `reject_` keys forbid a kind of adjustment, `required_plugins` must have had their say,
    and so must those that the annotation `required-plugins.noderesource.dev` of the pod names; one whose
    annotation `tolerate_missing_annotation` says "true" needs none. Raises InvalidInput.
    """

    enable: bool = True
    socket_path: str = ""
    disable_connections: bool = False  # only plugins that are installed in plugin_path
    plugin_path: str = "/opt/nri/plugins"
    plugin_config_path: str = "/etc/nri/conf.d"
    plugin_registration_timeout: float = 5.0
    plugin_request_timeout: float = 2.0
    validate: bool = False
    reject_hooks: bool = False
    reject_seccomp_default: bool = False
    reject_seccomp_unconfined: bool = False
    reject_seccomp_custom: bool = False
    reject_namespaces: bool = False
    reject_sysctls: bool = False
    required_plugins: tuple[str, ...] = ()
    tolerate_missing_annotation: str = ""

    def __post_init__(self) -> None:
        for key in ("socket_path", "plugin_path", "plugin_config_path"):
            value = getattr(self, key)
            if not value.startswith("/") and (value or key != "socket_path"):
                raise InvalidInput(f"[nri] {key}", f"{value!r} is not absolute", hint="begin it with /")
        for key in ("plugin_registration_timeout", "plugin_request_timeout"):
            if getattr(self, key) <= 0:
                raise InvalidInput(f"[nri] {key}", f"is {getattr(self, key):g}", hint="give seconds")

    def socket_of(self, node: Node) -> str:
        """The path of the socket that external plugins connect to."""
        if self.socket_path:
            return self.socket_path
        return DEFAULT_SOCKET if node.root == DEFAULT_ROOT else node.in_state("nri.sock")
