"""cgroup v2: one hierarchy; a controller works in a group only where its parent hands it down."""

from __future__ import annotations

import contextlib
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


class V2(Cgroups):
    unified = True

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.huge_pages = "hugetlb" in read(f"{root}/cgroup.controllers").split()
        self.swap = self._swap_accounted()

    def trees(self) -> list[str]:
        return [self.root]

    def monitor_tree(self) -> str:
        return self.root

    def create(self, path: str, resources: Resources) -> None:
        checked(path)
        os.makedirs(self.root + path, exist_ok=True)
        self._hand_down(path)
        self.limit(path, resources)

    def limit(self, path: str, resources: Resources) -> None:
        if not os.path.isdir(self.root + checked(path)):
            raise absent(path)
        for name, value in _limits(resources, swap=self.swap):
            try:
                write(f"{self.root}{path}/{name}", value)
            except FileNotFoundError as error:
                if name.startswith("hugetlb."):
                    continue  # a controller that the machine lacks limits nothing
                raise refused(path, name, value, error) from error
            except OSError as error:
                raise refused(path, name, value, error) from error

    def stats(self, path: str, *, detail: bool = False) -> CgroupStats:
        folder = self.root + checked(path)
        cpu, memory = table(f"{folder}/cpu.stat"), table(f"{folder}/memory.stat")
        usage = number(f"{folder}/memory.current")
        swap_limit = read(f"{folder}/memory.swap.max").strip()
        return CgroupStats(
            cpu=cpu.get("usage_usec", 0) * 1000,
            memory=usage,
            working_set=max(0, usage - memory.get("inactive_file", 0)),
            rss=memory.get("anon", 0),
            memory_limit=number(f"{folder}/memory.max"),
            pids=number(f"{folder}/pids.current"),
            pids_limit=number(f"{folder}/pids.max"),
            throttled=cpu.get("throttled_usec", 0) * 1000,
            major_faults=memory.get("pgmajfault", 0),
            page_faults=memory.get("pgfault", 0),
            swap=number(f"{folder}/memory.swap.current"),
            swap_limit=int(swap_limit) if swap_limit.isdigit() else None,
            oom_kills=self.oom_kills(path),
            cpu_pressure=pressures(f"{folder}/cpu.pressure"),
            memory_pressure=pressures(f"{folder}/memory.pressure"),
            io_pressure=pressures(f"{folder}/io.pressure"),
            cache=memory.get("file", 0),
            mapped=memory.get("file_mapped", 0),
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            **(self._detail(folder, cpu, memory) if detail else {}),
        )

    def _detail(self, folder: str, cpu: dict[str, int], memory: dict[str, int]) -> dict[str, Any]:
        return {
            "cpu_user": cpu.get("user_usec", 0) * 1000,
            "cpu_system": cpu.get("system_usec", 0) * 1000,
            "memory_peak": number(f"{folder}/memory.peak"),  # Linux 5.19
            "memory_kernel": memory.get("kernel", 0),  # Linux 5.18
            "memory_failures": table(f"{folder}/memory.events").get("max", 0),
            "processes": read(f"{folder}/cgroup.procs").count("\n"),
            "io": _io(read(f"{folder}/io.stat")),
            "hugepages": tuple(
                HugePages(size, number(f"{folder}/hugetlb.{size}.current"))
                for size in huge_page_sizes()
                if os.path.exists(f"{folder}/hugetlb.{size}.current")
            ),
        }

    def oom_kills(self, path: str) -> int:
        return table(f"{self.root}{checked(path)}/memory.events").get("oom_kill", 0)

    def thaw(self, path: str) -> None:
        with contextlib.suppress(OSError):
            write(f"{self.root}{checked(path)}/cgroup.freeze", "0")

    def kill(self, path: str) -> None:
        """cgroup.kill (Linux 5.14) reaches all at once; the loop is for older kernels and for the rest."""
        with contextlib.suppress(OSError):
            write(f"{self.root}{checked(path)}/cgroup.kill", "1")
        super().kill(path)

    def _hand_down(self, path: str) -> None:
        """Let every group above `path` pass all its controllers on."""
        above = self.root
        for part in path.strip("/").split("/"):
            offered = read(f"{above}/cgroup.controllers").split()
            given = read(f"{above}/cgroup.subtree_control").split()
            for controller in offered:
                if controller not in given:
                    with contextlib.suppress(OSError):  # some cannot be, such as cpu with real-time processes
                        write(f"{above}/cgroup.subtree_control", f"+{controller}")
            above = f"{above}/{part}"

    def _swap_accounted(self) -> bool:
        """Groups other than the root have memory.swap.max where the kernel accounts swap."""
        with contextlib.suppress(OSError), os.scandir(self.root) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and os.path.exists(f"{entry.path}/memory.current"):
                    return os.path.exists(f"{entry.path}/memory.swap.max")
        return False


def _io(text: str) -> tuple[DeviceIO, ...]:
    """io.stat: `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N ...` a line."""
    found: list[DeviceIO] = []
    for line in text.splitlines():
        device, *pairs = line.split()
        values = {name: int(value) for name, _, value in (p.partition("=") for p in pairs) if value.isdigit()}
        major, _, minor = device.partition(":")
        if major.isdigit() and minor.isdigit():
            counts = (values.get(name, 0) for name in ("rbytes", "wbytes", "rios", "wios"))
            found.append(DeviceIO(int(major), int(minor), *counts))
    return tuple(found)


def _limits(asked: Resources, *, swap: bool) -> list[tuple[str, str]]:
    from orlop.runtime.spec import resources

    orders: list[tuple[str, str]] = []
    shares, quota, period = resources.cpu(asked)
    if shares:
        orders.append(("cpu.weight", str(weight(shares))))
    if quota or period:
        orders.append(("cpu.max", f"{_or_max(quota or -1)} {period}"))
    if asked.memory_limit:
        orders.append(("memory.max", _or_max(asked.memory_limit)))
    if swap and asked.memory_limit > 0:
        alone = asked.memory_swap - asked.memory_limit if asked.memory_swap > 0 else asked.memory_swap
        orders.append(("memory.swap.max", _or_max(alone)))
    elif swap and asked.memory_limit < 0:
        orders.append(("memory.swap.max", "max"))
    if asked.memory_request:
        orders.append(("memory.low", str(asked.memory_request)))
    if asked.pids:
        orders.append(("pids.max", str(asked.pids)))
    if asked.cpuset_cpus:
        orders.append(("cpuset.cpus", asked.cpuset_cpus))
    if asked.cpuset_mems:
        orders.append(("cpuset.mems", asked.cpuset_mems))
    for size, limit in sorted(asked.hugepages.items()):
        orders.append((f"hugetlb.{size}.max", str(limit)))
    return [*orders, *sorted(asked.unified.items())]


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144), as the OCI runtimes convert."""
    return 1 + (shares - 2) * 9999 // 262_142
