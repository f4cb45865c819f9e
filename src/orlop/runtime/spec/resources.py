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
UNLIMITED = -1  # of what has no limit any more; 0 is "not set"
_LARGEST = (1 << 63) - 1
#: cgroup v2 files are named CONTROLLER.NAME; the core's own (cgroup.procs, cgroup.kill, ...) are no limits.
_FILE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_CPUSET = frozenset("0123456789,-")


def resources(spec: ContainerSpec, machine: Machine, found: list[devices.Node]) -> dict[str, object]:
    """`linux.resources` of a new container."""
    part = limited(_begun(spec.resources), swap=machine.swap, unified=machine.unified)
    part.setdefault("pids", {"limit": limits.PIDS_PER_CONTAINER})
    part["devices"] = devices.rules(found, privileged=spec.security.privileged)
    if machine.unified and spec.resources.memory_limit > 0:
        # Kubernetes' default: a container that is out of memory ends as a whole, not in one of its processes.
        asked = part.get("unified")
        part["unified"] = {"memory.oom.group": "1", **(asked if isinstance(asked, dict) else {})}
    if not machine.huge_pages and "hugepageLimits" in part:
        del part["hugepageLimits"]
        machine.rights.say("limits of huge pages are left out: this machine has no hugetlb controller")
    return part


def _begun(asked: Resources) -> Resources:
    """Without what has no limit: a new group has none, and crun 1.8 cannot write a quota of -1."""
    none = {name: 0 for name in ("cpu_quota", "memory_limit") if getattr(asked, name) == UNLIMITED}
    if none.get("memory_limit") == 0:
        none["memory_swap"] = 0
    return Resources(**{**vars(asked), **none}) if none else asked


def limited(asked: Resources, *, swap: bool, unified: bool = False) -> dict[str, object]:
    """What was asked for, and nothing else: the form that `update` takes as well.

    Files of cgroup v2 are passed over on v1, as CRI-O and containerd do. Raises InvalidInput.
    """
    _check(asked)
    part: dict[str, object] = {}
    shares_, quota_, period = cpu(asked)
    pairs = (
        ("shares", shares_),
        ("quota", quota_),
        ("period", period),
        ("cpus", asked.cpuset_cpus),
        ("mems", asked.cpuset_mems),
    )
    processor = {name: value for name, value in pairs if value}
    if processor:
        part["cpu"] = processor
    memory = _memory(asked, swap=swap)
    if memory:
        part["memory"] = memory
    if asked.pids:
        part["pids"] = {"limit": asked.pids}
    if asked.hugepages:
        part["hugepageLimits"] = [
            {"pageSize": size, "limit": limit} for size, limit in sorted(asked.hugepages.items())
        ]
    if asked.unified and unified:
        part["unified"] = dict(asked.unified)
    return part


def cpu(asked: Resources) -> tuple[int, int, int]:
    """Shares, quota and period as the kernel counts; 0 is "not set", a quota of -1 "no limit"."""
    shares_ = asked.cpu_shares or (shares(asked.cpu_request) if asked.cpu_request else 0)
    if asked.cpu_quota:
        return shares_, asked.cpu_quota, asked.cpu_period or PERIOD
    if asked.cpu_limit:
        return shares_, quota(asked.cpu_limit), PERIOD
    return shares_, 0, asked.cpu_period


def _check(asked: Resources) -> None:
    for name in ("cpu_request", "cpu_limit", "memory_request", "pids", "cpu_shares", "cpu_period"):
        if not 0 <= getattr(asked, name) <= _LARGEST:
            raise InvalidInput(name, "is negative or too large", hint="give 0 for no limit")
    for name in ("memory_limit", "memory_swap", "cpu_quota"):
        if not UNLIMITED <= getattr(asked, name) <= _LARGEST:
            raise InvalidInput(name, "is negative or too large", hint="give 0 for not set, -1 for no limit")
    for name in ("cpuset_cpus", "cpuset_mems"):
        if not _CPUSET.issuperset(getattr(asked, name)):
            raise InvalidInput(name, f"{getattr(asked, name)[:80]!r} is no list", hint="write it as 0-2,4")
    for size, limit in asked.hugepages.items():
        if not size.isalnum() or limit < 0:
            raise InvalidInput(f"huge pages {size[:20]!r}", "no such limit", hint="write it as 2MB: bytes")
    for file in asked.unified:
        if "." not in file or not _FILE.issuperset(file) or file.startswith(("cgroup.", ".")):
            raise InvalidInput(
                f"cgroup file {file[:80]!r}", "is no limit of cgroup v2", hint="give one such as memory.high"
            )


def _memory(asked: Resources, *, swap: bool) -> dict[str, object]:
    memory: dict[str, object] = {}
    limit, both = asked.memory_limit, asked.memory_swap
    if limit > 0 and 0 < both < limit:
        raise InvalidInput("memory_swap", "is less than memory_limit", hint="it counts memory and swap")
    if limit:
        memory["limit"] = limit
    if swap and (limit or both):
        memory["swap"] = both or limit
    if asked.memory_request:
        memory["reservation"] = asked.memory_request
    return memory


def shares(millicores: int) -> int:
    """cpu.shares, as Kubernetes counts: 1024 a core, 2 to 262144."""
    return max(2, min(262_144, millicores * 1024 // 1000))


def quota(millicores: int) -> int:
    """Microseconds in each PERIOD; the kernel takes no less than 1 ms."""
    return max(1000, millicores * PERIOD // 1000)
