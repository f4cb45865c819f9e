"""LinuxContainerResources into `Resources`, and back."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.errors import InvalidInput
from orlop.runtime.model import Resources

_PERIOD = 100_000  # microseconds, of a limit in thousandths of a core
_SHARES = 1024  # of a whole core
_LEAST = {
    "cpu_period": 0,
    "cpu_quota": -1,
    "cpu_shares": 0,
    "memory_limit_in_bytes": -1,
    "memory_swap_limit_in_bytes": -1,
}


def resources(asked: pb.LinuxContainerResources, subject: str) -> Resources:
    """What is 0 or empty is not set, -1 is no limit any more. Raises InvalidInput for what means nothing.

    A process' `oom_score_adj` is a container's at its creation, see there.
    """
    for name, least in _LEAST.items():
        if getattr(asked, name) < least:
            raise InvalidInput(f"{subject}: {name}", "is negative", hint="give 0 for no limit")
    if not -1000 <= asked.oom_score_adj <= 1000:
        raise InvalidInput(
            f"{subject}: oom_score_adj", f"{asked.oom_score_adj} is out of range", hint="from -1000 to 1000"
        )
    return Resources(
        cpu_shares=asked.cpu_shares,
        cpu_quota=asked.cpu_quota,
        cpu_period=asked.cpu_period,
        cpuset_cpus=asked.cpuset_cpus,
        cpuset_mems=asked.cpuset_mems,
        memory_limit=asked.memory_limit_in_bytes,
        memory_swap=asked.memory_swap_limit_in_bytes,
        oom_score_adj=asked.oom_score_adj or None,
        hugepages={limit.page_size: limit.limit for limit in asked.hugepage_limits},
        unified=dict(asked.unified),
    )


def message(of: Resources) -> pb.LinuxContainerResources:
    """The inverse; what was asked for in thousandths of a core is told in the kernel's units."""
    quota, period, shares = of.cpu_quota, of.cpu_period, of.cpu_shares
    if of.cpu_limit and not quota:
        quota, period = of.cpu_limit * _PERIOD // 1000, _PERIOD
    if of.cpu_request and not shares:
        shares = max(2, of.cpu_request * _SHARES // 1000)
    return pb.LinuxContainerResources(
        cpu_period=period,
        cpu_quota=quota,
        cpu_shares=shares,
        memory_limit_in_bytes=of.memory_limit,
        oom_score_adj=of.oom_score_adj or 0,
        cpuset_cpus=of.cpuset_cpus,
        cpuset_mems=of.cpuset_mems,
        hugepage_limits=[
            pb.HugepageLimit(page_size=size, limit=limit) for size, limit in of.hugepages.items()
        ],
        unified=of.unified,
        memory_swap_limit_in_bytes=of.memory_swap,
    )
