"""cgroup v1: a hierarchy per controller, and often an almost empty v2 tree beside them (hybrid)."""

from __future__ import annotations

import contextlib
import os

from orlop.kit.errors import InvalidInput
from orlop.runtime.cgroups.port import Cgroups, CgroupStats, checked, number, read, table, write
from orlop.runtime.model import Resources

_CPUSET = ("cpuset.cpus", "cpuset.mems")
_NO_LIMIT = 1 << 60  # the kernel's "none" is near 2^63, rounded to pages


class V1(Cgroups):
    def __init__(self, root: str) -> None:
        super().__init__(root)
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
        try:
            for controller, name, value in _limits(resources, swap=self.swap):
                self._set(controller, path, name, value)
        except OSError as error:
            raise InvalidInput(
                f"cgroup {path}", f"the kernel refuses its limits: {error.strerror}", hint="give other limits"
            ) from error

    def stats(self, path: str) -> CgroupStats:
        memory = f"{self.root}/memory{checked(path)}"
        fields = table(f"{memory}/memory.stat")
        usage = number(f"{memory}/memory.usage_in_bytes")
        return CgroupStats(
            cpu=number(f"{self._tree('cpuacct')}{path}/cpuacct.usage"),
            memory=usage,
            working_set=max(0, usage - fields.get("total_inactive_file", 0)),
            rss=fields.get("total_rss", 0),
            memory_limit=number(f"{memory}/memory.limit_in_bytes", unlimited=_NO_LIMIT),
            pids=number(f"{self.root}/pids{path}/pids.current"),
            pids_limit=number(f"{self.root}/pids{path}/pids.max"),
            throttled=table(f"{self._tree('cpu')}{path}/cpu.stat").get("throttled_time", 0),
            major_faults=fields.get("total_pgmajfault", 0),
            page_faults=fields.get("total_pgfault", 0),
        )

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
    if asked.cpu_request:
        orders.append(("cpu", "cpu.shares", str(resources.shares(asked.cpu_request))))
    if asked.cpu_limit:
        orders.append(("cpu", "cpu.cfs_period_us", str(resources.PERIOD)))
        orders.append(("cpu", "cpu.cfs_quota_us", str(resources.quota(asked.cpu_limit))))
    if asked.memory_limit:
        orders.append(("memory", "memory.limit_in_bytes", str(asked.memory_limit)))
    if asked.memory_limit and swap:
        total = asked.memory_swap or asked.memory_limit
        orders.append(("memory", "memory.memsw.limit_in_bytes", str(total)))
    if asked.memory_request:
        orders.append(("memory", "memory.soft_limit_in_bytes", str(asked.memory_request)))
    if asked.pids:
        orders.append(("pids", "pids.max", str(asked.pids)))
    if asked.cpuset_cpus:
        orders.append(("cpuset", "cpuset.cpus", asked.cpuset_cpus))
    for size, limit in sorted(asked.hugepages.items()):
        orders.append(("hugetlb", f"hugetlb.{size}.limit_in_bytes", str(limit)))
    return orders
