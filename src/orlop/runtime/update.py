"""Other limits for a container that is there."""

from __future__ import annotations

import json

from orlop.kit.errors import Conflict

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.runtime.engine import Engine
    from orlop.runtime.model import Resources


def update(engine: Engine, identifier: str, resources: Resources) -> None:
    """See Engine.update.

    In the kernel's files: that is quicker than the runtime, and knows -1 and what was refused. Where systemd
    makes the groups it has to hear of it, or it would reset them.
    """
    from orlop.runtime.spec.resources import limited

    asked = limited(resources, swap=engine.cgroups.swap, unified=engine.cgroups.unified)
    if not engine.cgroups.huge_pages:
        asked.pop("hugepageLimits", None)
    if not asked:
        return
    cgroup = engine.cgroup_of(identifier)
    if resources.memory_limit > 0 and cgroup:
        _check_memory(engine, identifier, cgroup, resources.memory_limit)
    if not cgroup:
        engine.ask("update", identifier, "--resources", "-", stdin=json.dumps(asked).encode())
    elif engine.systemd:
        from orlop.runtime.cgroups import systemd

        systemd.limit(engine.cgroups, cgroup, resources)
    else:
        engine.cgroups.limit(cgroup, resources)


def _check_memory(engine: Engine, identifier: str, cgroup: str, limit: int) -> None:
    """cgroup v2 would kill a container that uses more than its new limit, v1 gives a bare EBUSY."""
    used = engine.cgroups.stats(cgroup).working_set
    if used > limit:
        raise Conflict(
            f"container {identifier[:12]}",
            f"uses {used} bytes of memory, more than the limit {limit}",
            hint="give it a higher limit, or let it free some",
        )
