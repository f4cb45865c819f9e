"""What to ask, how often, and what the answers add up to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ExecAction:
    """A command inside the container; exit code 0 is success."""

    command: tuple[str, ...]


@dataclass(frozen=True)
class HttpAction:
    """GET `path` (with its query); an empty `host` is the pod's address."""

    port: int
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TcpAction:
    """A connection that opens; an empty `host` is the pod's address."""

    port: int
    host: str = ""


@dataclass(frozen=True)
class GrpcAction:
    """grpc.health.v1.Health/Check of `service`; SERVING is success."""

    port: int
    service: str = ""


@dataclass(frozen=True)
class SleepAction:
    """A lifecycle hook that only waits."""

    seconds: float


Action = ExecAction | HttpAction | TcpAction | GrpcAction | SleepAction


@dataclass(frozen=True)
class Probe:
    """Times in seconds; `grace` replaces the pod's where this probe's failure kills the container."""

    action: Action
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3
    grace: float | None = None


@dataclass(frozen=True)
class Outcome:
    """One answer. `message` is for people and bounded."""

    ok: bool
    message: str = ""


@dataclass(frozen=True)
class Tally:
    """Answers in a row so far. `last` is when the last one came, seconds since the epoch."""

    successes: int = 0
    failures: int = 0
    last: float = 0.0


@dataclass(frozen=True)
class Target:
    """The container that is asked: its ID and its pod's address ("127.0.0.1" on the machine's network)."""

    container_id: str
    address: str


def tally(before: Tally, outcome: Outcome, probe: Probe, now: float) -> tuple[Tally, bool | None]:
    """Count an answer. The verdict is True or False once enough came in a row, None before."""
    if outcome.ok:
        after = Tally(min(before.successes + 1, probe.success_threshold), 0, now)
        return after, True if after.successes >= probe.success_threshold else None
    after = Tally(0, min(before.failures + 1, probe.failure_threshold), now)
    return after, False if after.failures >= probe.failure_threshold else None


def next_time(probe: Probe, started: float, last: float) -> float:
    """When to ask next, seconds since the epoch: for the first time, or a period after the last answer."""
    return max(started + probe.initial_delay, last + probe.period if last else 0.0)
