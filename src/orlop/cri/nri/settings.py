"""The section [nri] of the configuration."""

from __future__ import annotations

from orlop.kit.value import dataclass


@dataclass(frozen=True)
class NriSettings:
    """Who may take part, and what the built-in validator forbids.

    Times in seconds. The validator (`validate`) looks at what all plugins together want of a new container:
    the `reject_` keys forbid a kind of adjustment, `required_plugins` must have had their say, and so must
    those that the pod's annotation `required-plugins.noderesource.dev` names; a pod whose annotation
    `tolerate_missing_annotation` says "true" needs none.
    """

    enable: bool = True
    socket_path: str = "/var/run/nri/nri.sock"
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
