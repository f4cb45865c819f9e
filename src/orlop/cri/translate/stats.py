"""What containers and pods use, as the interface has it."""

from __future__ import annotations

from collections.abc import Iterable

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.translate.status import container_metadata, nanoseconds, sandbox_metadata
from orlop.pod.model import Container, Sandbox
from orlop.pod.stats import Stats
from orlop.runtime.cgroups.port import CgroupStats, Pressure, Pressures
from orlop.runtime.stats import Interface

_DEFAULT_INTERFACE = "eth0"  # as CNI's plugins are asked to call it


def container(
    found: Container, stats: Stats, nano_cores: int | None, *, mountpoint: str
) -> pb.ContainerStats:
    """Of one container, in whatever state; what was never running has used nothing."""
    moment, usage = nanoseconds(stats.time), stats.usage
    return pb.ContainerStats(
        attributes=pb.ContainerAttributes(
            id=found.id,
            metadata=container_metadata(found.config),
            labels=found.config.labels,
            annotations=found.config.annotations,
        ),
        cpu=_cpu(moment, usage, nano_cores),
        memory=_memory(moment, usage),
        writable_layer=pb.FilesystemUsage(
            timestamp=nanoseconds(stats.disk_time or stats.time),
            fs_id=pb.FilesystemIdentifier(mountpoint=mountpoint),
            used_bytes=_count(stats.disk_bytes),
            inodes_used=_count(stats.disk_inodes),
        ),
        swap=_swap(moment, usage),
        io=_io(moment, usage),
    )


def sandbox(
    found: Sandbox, stats: Stats, nano_cores: int | None, containers: Iterable[pb.ContainerStats]
) -> pb.PodSandboxStats:
    """Of a pod as a whole, with its running containers' own. The machine's network is none of its own."""
    moment, usage = nanoseconds(stats.time), stats.usage
    config = found.config
    return pb.PodSandboxStats(
        attributes=pb.PodSandboxAttributes(
            id=found.id,
            metadata=sandbox_metadata(config),
            labels=config.labels,
            annotations=config.annotations,
        ),
        linux=pb.LinuxPodSandboxStats(
            cpu=_cpu(moment, usage, nano_cores),
            memory=_memory(moment, usage),
            network=None if config.network == "host" else _network(moment, stats.interfaces),
            process=pb.ProcessUsage(timestamp=moment, process_count=_count(usage.pids)),
            containers=containers,
            io=_io(moment, usage),
        ),
    )


def _cpu(moment: int, usage: CgroupStats, nano_cores: int | None) -> pb.CpuUsage:
    return pb.CpuUsage(
        timestamp=moment,
        usage_core_nano_seconds=_count(usage.cpu),
        usage_nano_cores=None if nano_cores is None else _count(nano_cores),
        psi=_psi(usage.cpu_pressure),
    )


def _memory(moment: int, usage: CgroupStats) -> pb.MemoryUsage:
    available = max(0, usage.memory_limit - usage.working_set) if usage.memory_limit else None
    return pb.MemoryUsage(
        timestamp=moment,
        working_set_bytes=_count(usage.working_set),
        available_bytes=None if available is None else _count(available),
        usage_bytes=_count(usage.memory),
        rss_bytes=_count(usage.rss),
        page_faults=_count(usage.page_faults),
        major_page_faults=_count(usage.major_faults),
        psi=_psi(usage.memory_pressure),
    )


def _swap(moment: int, usage: CgroupStats) -> pb.SwapUsage:
    available = None if usage.swap_limit is None else max(0, usage.swap_limit - usage.swap)
    return pb.SwapUsage(
        timestamp=moment,
        swap_available_bytes=None if available is None else _count(available),
        swap_usage_bytes=_count(usage.swap),
    )


def _io(moment: int, usage: CgroupStats) -> pb.IoUsage | None:
    """Only pressure is told of it: nothing, where the kernel does not account that."""
    if usage.io_pressure is None:
        return None
    return pb.IoUsage(timestamp=moment, psi=_psi(usage.io_pressure))


def _network(moment: int, interfaces: tuple[Interface, ...]) -> pb.NetworkUsage:
    default = next((each for each in interfaces if each.name == _DEFAULT_INTERFACE), None)
    default = default or next(iter(interfaces), None)
    return pb.NetworkUsage(
        timestamp=moment,
        default_interface=None if default is None else _interface(default),
        interfaces=[_interface(each) for each in interfaces if each is not default],
    )


def _interface(found: Interface) -> pb.NetworkInterfaceUsage:
    return pb.NetworkInterfaceUsage(
        name=found.name,
        rx_bytes=_count(found.received),
        rx_errors=_count(found.received_errors),
        tx_bytes=_count(found.sent),
        tx_errors=_count(found.sent_errors),
    )


def _psi(found: Pressures | None) -> pb.PsiStats | None:
    return None if found is None else pb.PsiStats(Full=_pressure(found.full), Some=_pressure(found.some))


def _pressure(found: Pressure) -> pb.PsiData:
    return pb.PsiData(Total=found.total, Avg10=found.avg10, Avg60=found.avg60, Avg300=found.avg300)


def _count(value: int) -> pb.UInt64Value:
    return pb.UInt64Value(value=max(0, value))
