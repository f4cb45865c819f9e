"""Metrics under the names and labels that cAdvisor gave them, so that what people built on those goes on.

The kubelet asks for the descriptors once and then for values, which are whole numbers: seconds are rounded
down. A metric whose value the kernel does not account is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.value import dataclass
from orlop.pod.model import Container, Sandbox
from orlop.pod.stats import Stats
from orlop.runtime.cgroups.port import CgroupStats, Pressures

_LABELS = ("container", "id", "image", "name", "namespace", "pod")
_NANO = 10**9

_Value = tuple[tuple[str, ...], int]  # values of the metric's own labels, and the number


@dataclass(frozen=True)
class _Of:
    """What a metric is about: a pod (then `container` is None), or a container in it."""

    stats: Stats
    sandbox: Sandbox
    container: Container | None


@dataclass(frozen=True)
class _Metric:
    name: str
    help: str
    kind: pb.MetricType
    labels: tuple[str, ...]  # beside those that all have
    read: Callable[[_Of], Iterable[_Value]]


def descriptors() -> list[pb.MetricDescriptor]:
    """What there is; the same as long as the daemon lives."""
    return [
        pb.MetricDescriptor(name=each.name, help=each.help, label_keys=(*_LABELS, *each.labels))
        for each in (*_EVERYWHERE, *_NETWORK, *_CONTAINERS)
    ]


def sandbox(found: Sandbox, stats: Stats, containers: list[Container]) -> pb.PodSandboxMetrics:
    """Of a pod and its running containers; `stats` are detailed ones, with those of `containers` in order."""
    inside = [
        pb.ContainerMetrics(
            container_id=container.id,
            metrics=_values((*_EVERYWHERE, *_CONTAINERS), _Of(each, found, container)),
        )
        for container, each in zip(containers, stats.containers, strict=True)
    ]
    network = () if found.config.network == "host" else _NETWORK  # that is the machine's, not the pod's
    own = _values((*_EVERYWHERE, *network), _Of(stats, found, None))
    return pb.PodSandboxMetrics(pod_sandbox_id=found.id, metrics=own, container_metrics=inside)


def _values(metrics: Iterable[_Metric], of: _Of) -> list[pb.Metric]:
    common = _common(of)
    return [
        pb.Metric(
            name=metric.name,
            metric_type=metric.kind,
            label_values=(*common, *labels),
            value=pb.UInt64Value(value=max(0, value)),
        )
        for metric in metrics
        for labels, value in metric.read(of)
    ]


def _common(of: _Of) -> tuple[str, ...]:
    config, container = of.sandbox.config, of.container
    if container is None:
        return ("", of.sandbox.id, "", "", config.namespace, config.name)
    image = container.config.image_name or container.config.image
    return (container.config.name, container.id, image, container.id, config.namespace, config.name)


def _one(read: Callable[[CgroupStats], int]) -> Callable[[_Of], Iterable[_Value]]:
    """A number of the cgroup."""
    return lambda of: (((), read(of.stats.usage)),)


def _links(which: str) -> Callable[[_Of], Iterable[_Value]]:
    """A number of each network interface."""
    return lambda of: [((link.name,), int(getattr(link, which))) for link in of.stats.interfaces]


def _faults(of: _Of) -> Iterator[_Value]:
    usage = of.stats.usage
    for scope in ("container", "hierarchy"):  # a container's cgroup has none below it
        yield ("pgfault", scope), usage.page_faults
        yield ("pgmajfault", scope), usage.major_faults


def _pressure(
    resource: Callable[[CgroupStats], Pressures | None], *, full: bool
) -> Callable[[_Of], Iterable[_Value]]:
    def read(of: _Of) -> Iterator[_Value]:
        found = resource(of.stats.usage)
        if found is not None:
            yield (), (found.full if full else found.some).total // _NANO

    return read


def _devices(which: str) -> Callable[[_Of], Iterable[_Value]]:
    """A number of each block device, which is called by its numbers."""
    return lambda of: [
        ((f"{device.major}:{device.minor}",), int(getattr(device, which))) for device in of.stats.usage.io
    ]


def _huge_pages(which: str) -> Callable[[_Of], Iterable[_Value]]:
    return lambda of: [((page.size,), int(getattr(page, which))) for page in of.stats.usage.hugepages]


def _quota(of: _Of) -> Iterator[_Value]:
    resources = of.container.config.resources if of.container else of.sandbox.config.resources
    if resources.cpu_quota > 0:
        yield (), resources.cpu_quota


def _period(of: _Of) -> Iterator[_Value]:
    resources = of.container.config.resources if of.container else of.sandbox.config.resources
    if resources.cpu_period > 0:
        yield (), resources.cpu_period


def _shares(of: _Of) -> Iterator[_Value]:
    resources = of.container.config.resources if of.container else of.sandbox.config.resources
    if resources.cpu_shares > 0:
        yield (), resources.cpu_shares


def _started(of: _Of) -> Iterator[_Value]:
    yield (), int(of.container.started if of.container else of.sandbox.created)


def _counter(
    name: str, text: str, read: Callable[[_Of], Iterable[_Value]], labels: tuple[str, ...] = ()
) -> _Metric:
    return _Metric(f"container_{name}", text, pb.COUNTER, labels, read)


def _gauge(
    name: str, text: str, read: Callable[[_Of], Iterable[_Value]], labels: tuple[str, ...] = ()
) -> _Metric:
    return _Metric(f"container_{name}", text, pb.GAUGE, labels, read)


_EVERYWHERE = (
    _counter(
        "cpu_usage_seconds_total",
        "CPU time used so far, in seconds.",
        lambda of: ((("total",), of.stats.usage.cpu // _NANO),),
        ("cpu",),
    ),
    _counter(
        "cpu_user_seconds_total",
        "CPU time used in user space, in seconds.",
        _one(lambda usage: usage.cpu_user // _NANO),
    ),
    _counter(
        "cpu_system_seconds_total",
        "CPU time used in the kernel, in seconds.",
        _one(lambda usage: usage.cpu_system // _NANO),
    ),
    _counter(
        "cpu_cfs_periods_total",
        "Periods of the CPU quota that have passed.",
        _one(lambda usage: usage.periods),
    ),
    _counter(
        "cpu_cfs_throttled_periods_total",
        "Periods in which the CPU quota was used up.",
        _one(lambda usage: usage.throttled_periods),
    ),
    _counter(
        "cpu_cfs_throttled_seconds_total",
        "Time held back by the CPU quota, in seconds.",
        _one(lambda usage: usage.throttled // _NANO),
    ),
    _gauge(
        "memory_usage_bytes", "Memory in use, caches included, in bytes.", _one(lambda usage: usage.memory)
    ),
    _gauge(
        "memory_working_set_bytes",
        "Memory in use that cannot be had back at once, in bytes.",
        _one(lambda usage: usage.working_set),
    ),
    _gauge("memory_rss", "Anonymous memory, in bytes.", _one(lambda usage: usage.rss)),
    _gauge("memory_cache", "Page cache, in bytes.", _one(lambda usage: usage.cache)),
    _gauge("memory_mapped_file", "Files mapped into memory, in bytes.", _one(lambda usage: usage.mapped)),
    _gauge("memory_swap", "Swap in use, in bytes.", _one(lambda usage: usage.swap)),
    _gauge(
        "memory_kernel_usage", "Memory of the kernel's, in bytes.", _one(lambda usage: usage.memory_kernel)
    ),
    _gauge(
        "memory_max_usage_bytes",
        "The most memory that was in use, in bytes.",
        _one(lambda usage: usage.memory_peak),
    ),
    _counter(
        "memory_failcnt", "How often the memory limit was met.", _one(lambda usage: usage.memory_failures)
    ),
    _counter(
        "memory_failures_total",
        "Page faults, minor ones and those that had to read.",
        _faults,
        ("failure_type", "scope"),
    ),
    _counter(
        "oom_events_total",
        "Processes that the kernel killed for lack of memory.",
        _one(lambda usage: usage.oom_kills),
    ),
    _gauge(
        "spec_memory_limit_bytes",
        "The memory limit, in bytes; 0: none.",
        _one(lambda usage: usage.memory_limit),
    ),
    _gauge(
        "spec_memory_swap_limit_bytes",
        "The limit of swap, in bytes; 0: none.",
        _one(lambda usage: usage.swap_limit or 0),
    ),
    _gauge("spec_cpu_quota", "The CPU quota, in microseconds of each period.", _quota),
    _gauge("spec_cpu_period", "The period of the CPU quota, in microseconds.", _period),
    _gauge("spec_cpu_shares", "The weight of its CPU time, in shares.", _shares),
    _gauge("threads", "Threads that are there.", _one(lambda usage: usage.pids)),
    _gauge("threads_max", "Threads that there may be; 0: no limit.", _one(lambda usage: usage.pids_limit)),
    _counter(
        "pressure_cpu_waiting_seconds_total",
        "Time in which a task waited for CPU, in seconds.",
        _pressure(lambda usage: usage.cpu_pressure, full=False),
    ),
    _counter(
        "pressure_cpu_stalled_seconds_total",
        "Time in which all tasks waited for CPU, in seconds.",
        _pressure(lambda usage: usage.cpu_pressure, full=True),
    ),
    _counter(
        "pressure_memory_waiting_seconds_total",
        "Time in which a task waited for memory, in seconds.",
        _pressure(lambda usage: usage.memory_pressure, full=False),
    ),
    _counter(
        "pressure_memory_stalled_seconds_total",
        "Time in which all tasks waited for memory, in seconds.",
        _pressure(lambda usage: usage.memory_pressure, full=True),
    ),
    _counter(
        "pressure_io_waiting_seconds_total",
        "Time in which a task waited for a disk, in seconds.",
        _pressure(lambda usage: usage.io_pressure, full=False),
    ),
    _counter(
        "pressure_io_stalled_seconds_total",
        "Time in which all tasks waited for a disk, in seconds.",
        _pressure(lambda usage: usage.io_pressure, full=True),
    ),
    _counter(
        "fs_reads_bytes_total", "Read from block devices, in bytes.", _devices("read_bytes"), ("device",)
    ),
    _counter(
        "fs_writes_bytes_total", "Written to block devices, in bytes.", _devices("written_bytes"), ("device",)
    ),
    _counter("fs_reads_total", "Reads from block devices.", _devices("reads"), ("device",)),
    _counter("fs_writes_total", "Writes to block devices.", _devices("writes"), ("device",)),
    _gauge("hugetlb_usage_bytes", "Huge pages in use, in bytes.", _huge_pages("usage"), ("pagesize",)),
    _gauge(
        "hugetlb_max_usage_bytes",
        "The most huge pages that were in use, in bytes.",
        _huge_pages("peak"),
        ("pagesize",),
    ),
    _gauge("start_time_seconds", "When it started, in seconds since the epoch.", _started),
    _gauge(
        "last_seen",
        "When it was looked at last, in seconds since the epoch.",
        lambda of: (((), int(time.time())),),
    ),
)

_NETWORK = tuple(
    _counter(f"network_{name}_total", text, _links(field), ("interface",))
    for name, text, field in (
        ("receive_bytes", "Bytes received.", "received"),
        ("receive_packets", "Packets received.", "received_packets"),
        ("receive_packets_dropped", "Packets dropped while receiving.", "received_dropped"),
        ("receive_errors", "Errors while receiving.", "received_errors"),
        ("transmit_bytes", "Bytes sent.", "sent"),
        ("transmit_packets", "Packets sent.", "sent_packets"),
        ("transmit_packets_dropped", "Packets dropped while sending.", "sent_dropped"),
        ("transmit_errors", "Errors while sending.", "sent_errors"),
    )
)

_CONTAINERS = (
    _gauge("processes", "Processes that are there.", _one(lambda usage: usage.processes)),
    _gauge(
        "fs_usage_bytes",
        "Written into its root, in bytes.",
        lambda of: ((("overlay",), of.stats.disk_bytes),),
        ("device",),
    ),
    _gauge(
        "fs_inodes_used",
        "Files, folders and links that it made in its root.",
        lambda of: ((("overlay",), of.stats.disk_inodes),),
        ("device",),
    ),
)
