"""Section [cri] of the configuration."""

from __future__ import annotations

from orlop.kit.value import dataclass


@dataclass(frozen=True)
class CriSettings:
    """Section [cri] of the configuration.

    `listen` is `unix:///ABSOLUTE/PATH`; "" is `orlop.sock` in the node's state folder. Whoever may connect to
    the socket is root on this machine: `socket_mode` is octal, `socket_group` a name or a number.
    """

    listen: str = ""
    socket_mode: str = "0660"
    socket_group: str = "root"
