"""cgroup v1: a hierarchy per controller, and often an almost empty v2 tree beside them (hybrid)."""

from __future__ import annotations

import contextlib
import errno
import os

from orlop.runtime.cgroups.port import (
    Cgroups,
    CgroupStats,
    DeviceIO,
    HugePages,
    absent,
    checked,
    huge_page_sizes,
    number,
    pressures,
    read,
    refused,
    table,
    write,
)
from orlop.runtime.model import Resources

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from typing import Any

_CPUSET = ("cpuset.cpus", "cpuset.mems")
_IO = ("Read bytes", "Write bytes", "Read count", "Write count")
_MEMORY, _BOTH = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
_NO_LIMIT = 1 << 60  # the kernel's "none" is near 2^63, rounded to pages


class V1(Cgroups):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.huge_pages = os.path.isdir(f"{root}/hugetlb")
        self.swap = os.path.exists(f"{root}/memory/memory.memsw.limit_in_bytes")

    def trees(self) -> list[str]:
        with os.scandir(self.root) as entries:  # cpu,cpuacct and the like are links to one folder
            return sorted(
                entry.path
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and os.path.exists(entry.path + "/cgroup.procs")
            )

    def monitor_tree(self) -> str:
        return f"{self.root}/systemd" if os.path.isdir(f"{self.root}/systemd") else f"{self.root}/pids"

    def create(self, path: str, resources: Resources) -> None:
        checked(path)
        for tree in self.trees():
            os.makedirs(tree + path, exist_ok=True)
        self._inherit_cpuset(path)
        self._apply(path, resources)

    def limit(self, path: str, resources: Resources) -> None:
        if not any(os.path.isdir(f"{self.root}/{name}{checked(path)}") for name in ("memory", "pids", "cpu")):
            raise absent(path)
        self._apply(path, resources)

    def _apply(self, path: str, resources: Resources) -> None:
        orders = _limits(resources, swap=self.swap)
        while orders:
            controller, name, value = orders.pop(0)
            try:
                self._set(controller, path, name, value)
            except OSError as error:
                if name == _MEMORY and error.errno == errno.EINVAL and orders and orders[0][1] == _BOTH:
                    # It may not be more than memory and swap together: that first, then this once more.
                    self._both_first(path, orders.pop(0), value)
                    continue
                raise refused(path, name, value, error) from error

    def _both_first(self, path: str, both: tuple[str, str, str], memory: str) -> None:
        for controller, name, value in (both, ("memory", _MEMORY, memory)):
            try:
                self._set(controller, path, name, value)
            except OSError as error:
                raise refused(path, name, value, error) from error

    def stats(self, path: str, *, detail: bool = False) -> CgroupStats:
        memory = f"{self.root}/memory{checked(path)}"
        fields = table(f"{memory}/memory.stat")
        throttling = table(f"{self._tree('cpu')}{path}/cpu.stat")
        usage = number(f"{memory}/memory.usage_in_bytes")
        limit = fields.get("hierarchical_memory_limit", 0)
        both = fields.get("hierarchical_memsw_limit", 0)
        psi = f"{self.root}/unified{path}"
        return CgroupStats(
            cpu=number(f"{self._tree('cpuacct')}{path}/cpuacct.usage"),
            memory=usage,
            working_set=max(0, usage - fields.get("total_inactive_file", 0)),
            rss=fields.get("total_rss", 0),
            memory_limit=number(f"{memory}/memory.limit_in_bytes", unlimited=_NO_LIMIT),
            pids=number(f"{self.root}/pids{path}/pids.current"),
            pids_limit=number(f"{self.root}/pids{path}/pids.max"),
            throttled=throttling.get("throttled_time", 0),
            major_faults=fields.get("total_pgmajfault", 0),
            page_faults=fields.get("total_pgfault", 0),
            swap=fields.get("total_swap", 0),
            swap_limit=max(0, both - limit) if 0 < both < _NO_LIMIT else None,
            oom_kills=self.oom_kills(path),
            cpu_pressure=pressures(f"{psi}/cpu.pressure"),
            memory_pressure=pressures(f"{psi}/memory.pressure"),
            io_pressure=pressures(f"{psi}/io.pressure"),
            cache=fields.get("total_cache", 0),
            mapped=fields.get("total_mapped_file", 0),
            periods=throttling.get("nr_periods", 0),
            throttled_periods=throttling.get("nr_throttled", 0),
            **(self._detail(path) if detail else {}),
        )

    def _detail(self, path: str) -> dict[str, Any]:
        memory, cpu = f"{self.root}/memory{path}", f"{self._tree('cpuacct')}{path}"
        huge = f"{self.root}/hugetlb{path}"
        return {
            "cpu_user": number(f"{cpu}/cpuacct.usage_user"),
            "cpu_system": number(f"{cpu}/cpuacct.usage_sys"),
            "memory_peak": number(f"{memory}/memory.max_usage_in_bytes"),
            "memory_kernel": number(f"{memory}/memory.kmem.usage_in_bytes"),
            "memory_failures": number(f"{memory}/memory.failcnt"),
            "processes": read(f"{self.root}/pids{path}/cgroup.procs").count("\n"),
            "io": self._io(path),
            "hugepages": tuple(
                HugePages(
                    size,
                    number(f"{huge}/hugetlb.{size}.usage_in_bytes"),
                    number(f"{huge}/hugetlb.{size}.max_usage_in_bytes"),
                )
                for size in huge_page_sizes()
                if os.path.isdir(huge)
            ),
        }

    def _io(self, path: str) -> tuple[DeviceIO, ...]:
        """`MAJOR:MINOR Read NUMBER` and so on, of bytes and of operations."""
        found: dict[str, dict[str, int]] = {}
        for name, kind in (("io_service_bytes", "bytes"), ("io_serviced", "count")):
            for line in read(f"{self.root}/blkio{path}/blkio.throttle.{name}_recursive").splitlines():
                words = line.split()
                if len(words) == 3 and words[2].isdigit():
                    found.setdefault(words[0], {})[f"{words[1]} {kind}"] = int(words[2])
        devices: list[DeviceIO] = []
        for device, values in sorted(found.items()):
            major, _, minor = device.partition(":")
            if major.isdigit() and minor.isdigit():
                counts = (values.get(name, 0) for name in _IO)
                devices.append(DeviceIO(int(major), int(minor), *counts))
        return tuple(devices)

    def oom_kills(self, path: str) -> int:
        return table(f"{self.root}/memory{checked(path)}/memory.oom_control").get("oom_kill", 0)

    def thaw(self, path: str) -> None:
        with contextlib.suppress(OSError):
            write(f"{self.root}/freezer{checked(path)}/freezer.state", "THAWED")

    def _tree(self, controller: str) -> str:
        return f"{self.root}/{controller}"

    def _set(self, controller: str, path: str, name: str, value: str) -> None:
        """A controller that the machine lacks limits nothing."""
        folder = self._tree(controller) + path
        if os.path.isdir(folder):
            write(f"{folder}/{name}", value)

    def _inherit_cpuset(self, path: str) -> None:
        """A new group of cpuset has no CPUs and no memory; no process can enter it before it has."""
        above = self._tree("cpuset")
        if not os.path.isdir(above):
            return
        for part in path.strip("/").split("/"):
            here = f"{above}/{part}"
            for name in _CPUSET:
                if not read(f"{here}/{name}").strip():
                    write(f"{here}/{name}", read(f"{above}/{name}").strip())
            above = here


def _limits(asked: Resources, *, swap: bool) -> list[tuple[str, str, str]]:
    from orlop.runtime.spec import resources

    orders: list[tuple[str, str, str]] = []
    shares, quota, period = resources.cpu(asked)
    if shares:
        orders.append(("cpu", "cpu.shares", str(shares)))
    if period:
        orders.append(("cpu", "cpu.cfs_period_us", str(period)))
    if quota:
        orders.append(("cpu", "cpu.cfs_quota_us", str(quota)))
    if asked.memory_limit:
        orders.append(("memory", _MEMORY, str(asked.memory_limit)))
    if swap and (asked.memory_limit or asked.memory_swap):
        orders.append(("memory", _BOTH, str(asked.memory_swap or asked.memory_limit)))
    if asked.memory_request:
        orders.append(("memory", "memory.soft_limit_in_bytes", str(asked.memory_request)))
    if asked.pids:
        orders.append(("pids", "pids.max", str(asked.pids)))
    if asked.cpuset_cpus:
        orders.append(("cpuset", "cpuset.cpus", asked.cpuset_cpus))
    if asked.cpuset_mems:
        orders.append(("cpuset", "cpuset.mems", asked.cpuset_mems))
    for size, limit in sorted(asked.hugepages.items()):
        orders.append(("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(limit)))
    return orders
