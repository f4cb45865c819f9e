"""Limits and weights (config-linux.md, "Control groups"); runtimes convert them for cgroup v2 themselves."""

from __future__ import annotations

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.runtime.model import ContainerSpec, Resources
from orlop.runtime.spec import devices

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.spec.build import Machine

PERIOD = 100_000  # microseconds


def resources(spec: ContainerSpec, machine: Machine, found: list[devices.Node]) -> dict[str, object]:
    """`linux.resources` of a new container."""
    part = limited(spec.resources, swap=machine.swap)
    part.setdefault("pids", {"limit": limits.PIDS_PER_CONTAINER})
    part["devices"] = devices.rules(found, privileged=spec.security.privileged)
    if machine.unified and spec.resources.memory_limit:
        # Kubernetes' default: a container that is out of memory ends as a whole, not in one of its processes.
        part["unified"] = {"memory.oom.group": "1"}
    return part


def limited(asked: Resources, *, swap: bool) -> dict[str, object]:
    """What was asked for, and nothing else: the form that `update` takes as well."""
    for name in ("cpu_request", "cpu_limit", "memory_limit", "memory_request", "memory_swap", "pids"):
        if getattr(asked, name) < 0:
            raise InvalidInput(name, "is negative", hint="give 0 for no limit")
    part: dict[str, object] = {}
    cpu: dict[str, object] = {}
    if asked.cpu_request:
        cpu["shares"] = shares(asked.cpu_request)
    if asked.cpu_limit:
        cpu |= {"quota": quota(asked.cpu_limit), "period": PERIOD}
    if asked.cpuset_cpus:
        cpu["cpus"] = asked.cpuset_cpus
    if cpu:
        part["cpu"] = cpu
    memory = _memory(asked, swap=swap)
    if memory:
        part["memory"] = memory
    if asked.pids:
        part["pids"] = {"limit": asked.pids}
    if asked.hugepages:
        part["hugepageLimits"] = [
            {"pageSize": size, "limit": limit} for size, limit in sorted(asked.hugepages.items())
        ]
    return part


def _memory(asked: Resources, *, swap: bool) -> dict[str, object]:
    memory: dict[str, object] = {}
    if asked.memory_limit:
        memory["limit"] = asked.memory_limit
        if swap:
            memory["swap"] = asked.memory_swap or asked.memory_limit
        if asked.memory_swap and asked.memory_swap < asked.memory_limit:
            raise InvalidInput("memory_swap", "is less than memory_limit", hint="it counts memory and swap")
    if asked.memory_request:
        memory["reservation"] = asked.memory_request
    return memory


def shares(millicores: int) -> int:
    """cpu.shares, as Kubernetes counts: 1024 a core, 2 to 262144."""
    return max(2, min(262_144, millicores * 1024 // 1000))


def quota(millicores: int) -> int:
    """Microseconds in each PERIOD; the kernel takes no less than 1 ms."""
    return max(1000, millicores * PERIOD // 1000)
