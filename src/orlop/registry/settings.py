"""What `orlop registry serve` is told."""

from __future__ import annotations

from collections.abc import Callable

from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass

ANONYMOUS = ("none", "pull", "all")


@dataclass(frozen=True)
class RegistrySettings:
    """`listen` is HOST:PORT (port 0: any that is free) or unix:PATH.

    `users` names a file of htpasswd(1), `access` one of rules (access.py). `anonymous` is one of ANONYMOUS,
    or "" for what fits the address: all on loopback without users, else nothing. `sparse`:
    manifests may name what is not there. `ready` is told the URL.
    """

    listen: str = "127.0.0.1:5000"
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    users: str = ""
    access: str = ""
    anonymous: str = ""
    read_only: bool = False
    sparse: bool = False
    ready: Callable[[str], None] = lambda url: None


def address(listen: str) -> tuple[str, int]:
    """Host and port. Raises InvalidInput."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 0xFFFF:
        raise InvalidInput(
            f"--listen {listen}", "is not HOST:PORT", hint="write it as 127.0.0.1:5000, [::1]:0 or unix:PATH"
        )
    return host.removeprefix("[").removesuffix("]"), int(port)
