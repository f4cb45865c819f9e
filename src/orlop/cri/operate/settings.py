"""Sections [serve] and [tracing] of the configuration."""

from __future__ import annotations

from orlop.kit import limits, log
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass


@dataclass(frozen=True)
class ServeSettings:
    """Section [serve] of the configuration: how the daemon is operated.

    `metrics_address` is `HOST:PORT` of the Prometheus listener ("": none). `collect_interval` is seconds
    between two looks for what interrupted work left (0: only at start). Raises InvalidInput.
    """

    log_level: str = "info"
    log_format: str = "auto"
    metrics_address: str = ""
    collect_interval: float = limits.COLLECT_INTERVAL

    def __post_init__(self) -> None:
        log.level_of(self.log_level, "[serve] log_level")
        log.form_of(self.log_format, "[serve] log_format")
        if self.metrics_address:
            host_and_port(self.metrics_address, "[serve] metrics_address")
        if self.collect_interval < 0:
            raise InvalidInput("[serve] collect_interval", "is below zero", hint="0 switches it off")


@dataclass(frozen=True)
class TracingSettings:
    """Section [tracing] of the configuration: OpenTelemetry spans of every request, sent by OTLP over gRPC.

    `endpoint` is `HOST:PORT` of a collector ("": no traces). `sampling` is the share of requests that begin a
    trace here, 0 to 1; one that the client traces is always part of its trace. `insecure`: without TLS.
    Raises InvalidInput.
    """

    endpoint: str = ""
    sampling: float = 1.0
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.endpoint:
            host_and_port(self.endpoint, "[tracing] endpoint")
        if not 0 <= self.sampling <= 1:
            raise InvalidInput("[tracing] sampling", f"is {self.sampling:g}", hint="a share from 0.0 to 1.0")


def host_and_port(text: str, where: str) -> tuple[str, int]:
    """`HOST:PORT`, an IPv6 address in brackets. Raises InvalidInput about `where`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise InvalidInput(f"{where} {text!r}", "is not HOST:PORT", hint="such as 127.0.0.1:9537")
    return host, int(port)
