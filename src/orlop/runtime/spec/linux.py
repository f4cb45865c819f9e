"""The `linux` part's namespaces, paths that are hidden or read-only, and the cgroup's path."""

from __future__ import annotations

from orlop.kit.errors import InvalidInput
from orlop.runtime.model import ContainerSpec, IDMapping, Namespaces, Security

#: As CRI-O and containerd have them.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def paths(security: Security) -> dict[str, object]:
    """`maskedPaths` and `readonlyPaths`: none for a privileged container."""
    if security.privileged:
        return {}
    masked = MASKED if security.masked_paths is None else security.masked_paths
    read_only = READ_ONLY if security.read_only_paths is None else security.read_only_paths
    for path in (*masked, *read_only):
        if not path.startswith("/"):
            raise InvalidInput(f"path {path}", "is not absolute", hint="start it with /")
    return {"maskedPaths": list(masked), "readonlyPaths": list(read_only)}


def namespaces(asked: Namespaces, *, unified: bool) -> list[dict[str, str]]:
    """Namespaces to make or to join; on cgroup v1 the cgroup namespace stays the machine's unless named."""
    listed = [{"type": "mount"}]
    if asked.user.startswith("/"):  # "" means the machine's, too: whoever wants another one has made it
        listed.append({"type": "user", "path": asked.user})
    cgroup = asked.cgroup or ("" if unified else "host")
    pairs = (
        ("network", asked.network),
        ("ipc", asked.ipc),
        ("uts", asked.uts),
        ("pid", asked.pid),
        ("cgroup", cgroup),
    )
    for kind, value in pairs:
        if value == "":
            listed.append({"type": kind})
        elif value.startswith("/"):
            listed.append({"type": kind, "path": value})
        elif value != "host":
            raise InvalidInput(f"{kind} namespace {value}", "is no path", hint='give a path, "" or "host"')
    return listed


def mappings(spec: ContainerSpec) -> dict[str, object]:
    """`uidMappings` and `gidMappings` of the user namespace that is joined; runtimes want both said again."""
    if not spec.namespaces.user.startswith("/"):
        return {}
    return {"uidMappings": _listed(spec.uid_mappings), "gidMappings": _listed(spec.gid_mappings)}


def _listed(mappings: tuple[IDMapping, ...]) -> list[dict[str, int]]:
    return [{"containerID": m.container, "hostID": m.host, "size": m.length} for m in mappings]


def cgroup_path(spec: ContainerSpec, *, systemd: bool) -> str:
    """`cgroupsPath`: the path below each controller, or systemd's `slice:prefix:name`."""
    parts = spec.cgroup.split("/")
    if not spec.cgroup.startswith("/") or len(parts) < 2 or ".." in parts or "" in parts[1:]:
        raise InvalidInput(f"cgroup {spec.cgroup}", "is no absolute path", hint="write it as /a/b")
    if not systemd:
        return spec.cgroup
    from orlop.runtime.cgroups import slices

    return slices.for_runtime(spec.cgroup)
