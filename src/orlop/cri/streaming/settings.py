"""Section [streaming] of the configuration file."""

from __future__ import annotations

import ipaddress

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass

_VERSIONS = ("1.2", "1.3")


@dataclass(frozen=True)
class StreamingSettings:
    """Where streams are served, and their bounds: counts, and times in seconds.

    Raises InvalidInput for what cannot work, and for an address that others reach without TLS: whoever has
    a URL may use it.
    """

    address: str = "127.0.0.1"
    port: int = 0
    base_url: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    tls_min_version: str = "1.2"
    idle_timeout: float = limits.STREAM_IDLE
    creation_timeout: float = limits.STREAM_CREATION
    max_streams: int = limits.STREAM_CONNECTIONS
    exec_grace: float = limits.STREAM_EXEC_GRACE

    def __post_init__(self) -> None:
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError as error:
            raise InvalidInput(
                "[streaming] address", f"{self.address!r} is no IP address", hint="such as 127.0.0.1"
            ) from error
        if bool(self.tls_cert) != bool(self.tls_key):
            raise InvalidInput(
                "[streaming]", "tls_cert and tls_key belong together", hint="give both or neither"
            )
        if not self.tls and not address.is_loopback:
            raise InvalidInput(
                "[streaming] address",
                f"{self.address} is open to other machines, without TLS",
                hint="give tls_cert and tls_key, or a loopback address",
            )
        if self.tls_min_version not in _VERSIONS:
            raise InvalidInput(
                "[streaming] tls_min_version",
                f"is {self.tls_min_version!r}",
                hint=f"one of {', '.join(_VERSIONS)}",
            )
        if not 0 <= self.port <= 65535:
            raise InvalidInput("[streaming] port", f"is {self.port}", hint="0 (any) to 65535")
        if self.base_url and not self.base_url.startswith(("http://", "https://")):
            raise InvalidInput(
                "[streaming] base_url", f"is {self.base_url!r}", hint="such as https://node7:10010"
            )
        for key in ("idle_timeout", "creation_timeout", "max_streams"):
            if vars(self)[key] <= 0:
                raise InvalidInput(f"[streaming] {key}", "must be above zero", hint="leave the default")

    @property
    def tls(self) -> bool:
        return bool(self.tls_cert)
