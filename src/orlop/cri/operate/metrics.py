"""What Prometheus is told (docs/metrics.md). Imported only where a listener is configured.

Labels have few values: methods of the interface, gRPC's codes, Orlop's kinds of errors, states. Nothing is
labelled by pod, container or image.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from orlop import __version__
from orlop.kit import errors
from orlop.pod.context import Pods

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_PULL_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_STATES = {
    "containers": ("created", "running", "exited"),
    "sandboxes": ("ready", "notready"),
}
#: What records call a state, and what people do.
_SHOWN = {"creating": "created", "starting": "created", "removing": "exited"}


class Metrics:
    """The counters of one daemon. Thread-safe."""

    def __init__(self, pods: Pods) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self.requests = Histogram(
            "orlop_cri_request_duration_seconds",
            "Time that a request of the CRI took",
            ("method", "code"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.errors = Counter(
            "orlop_cri_errors", "Requests that failed", ("method", "code"), registry=registry
        )
        self.in_flight = Gauge(
            "orlop_cri_requests_in_flight", "Requests under way", ("method",), registry=registry
        )
        self.execs = Counter(
            "orlop_execs",
            "Commands run in containers, with probes (sync) or streamed",
            ("kind",),
            registry=registry,
        )
        self.pulls = Counter("orlop_image_pulls", "Pulls by result", ("result",), registry=registry)
        self.pull_seconds = Histogram(
            "orlop_image_pull_duration_seconds",
            "Time that a pull that succeeded took",
            buckets=_PULL_SECONDS,
            registry=registry,
        )
        self.pull_bytes = Counter(
            "orlop_image_pull_bytes", "Bytes fetched from registries", registry=registry
        )
        self.exits = Counter("orlop_container_exits", "Containers that ended", ("reason",), registry=registry)
        self.oom_kills = Counter(
            "orlop_container_oom_kills", "Containers that ran out of memory", registry=registry
        )
        self.collections = Counter(
            "orlop_collections", "Looks for what interrupted work left", ("result",), registry=registry
        )
        self.collected = Counter(
            "orlop_collected_objects", "What was finished or removed by them", ("kind",), registry=registry
        )
        self.reloads = Counter(
            "orlop_config_reloads", "Configurations read anew", ("result",), registry=registry
        )
        Info("orlop_build", "Versions", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        ProcessCollector(registry=registry)
        registry.register(_Objects(pods))

    def text(self) -> bytes:
        """The exposition format. Asks the databases, so not for the loop's thread."""
        return generate_latest(self.registry)

    def pull(self, *, size: int, seconds: float, code: str) -> None:
        self.pulls.labels("ok" if code == "OK" else kind_of(code)).inc()
        if code == "OK":
            self.pull_seconds.observe(seconds)
        self.pull_bytes.inc(size)

    def exit(self, *, exit_code: int, oom_killed: bool) -> None:
        self.exits.labels("oom" if oom_killed else "completed" if exit_code == 0 else "error").inc()
        if oom_killed:
            self.oom_kills.inc()


def kind_of(name: str) -> str:
    """The kind of error of Orlop's tree that a class is, "other" for anything else."""
    return _kinds().get(name, "other")


def _kinds() -> dict[str, str]:
    """Class name -> the name of its ancestor in kit.errors."""
    named: dict[str, str] = {}
    roots = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    pending = [(kind, kind.__name__) for kind in roots if issubclass(kind, errors.OrlopError)]
    while pending:
        kind, name = pending.pop()
        own = kind.__module__ == errors.__name__
        named[kind.__name__] = kind.__name__ if own else name
        pending += [(below, named[kind.__name__]) for below in kind.__subclasses__()]
    return named


class _Objects(Collector):
    """Pods and containers by state, and images: what the records say when Prometheus asks."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for table, name, text in (
            ("sandboxes", "orlop_pods", "Pods by state"),
            ("containers", "orlop_containers", "Containers by state"),
        ):
            family = GaugeMetricFamily(name, text, labels=("state",))
            counts = dict.fromkeys(_STATES[table], 0)
            for state, count in self._counted(table):
                counts[state] = counts.get(state, 0) + count
            for state, count in counts.items():
                family.add_metric((state,), count)
            yield family

    def _counted(self, table: str) -> Iterator[tuple[str, int]]:
        sql = f"SELECT state, COUNT(*) FROM {table} GROUP BY state"  # noqa: S608 - a constant of ours
        for row in self._pods.records.database.query(sql):
            state = row[0]
            if table == "sandboxes":
                yield ("ready" if state in ("ready", "creating") else "notready"), row[1]
            else:
                yield _SHOWN.get(state, state), row[1]
