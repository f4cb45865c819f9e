"""Is this machine ready? One function a requirement, each with a plain sentence and what to do about it."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator

from orlop.kit import kernel, process
from orlop.kit.config import Config
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node
from orlop.kit.value import dataclass
from orlop.network.settings import NetworkSettings

_CGROUPS = "/sys/fs/cgroup"
_PLUGINS = ("bridge", "host-local", "portmap")
_INITS = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/local/bin/catatonit")
_HUGETLB = "mkdir -p /sys/fs/cgroup/hugetlb && mount -t cgroup -o hugetlb hugetlb /sys/fs/cgroup/hugetlb"


@dataclass(frozen=True)
class Finding:
    """`state` is "ok", "warning" (something will be missing) or "missing" (containers will not run)."""

    name: str
    state: str
    text: str
    hint: str = ""


def findings(node: Node) -> list[Finding]:
    """Everything that is looked at, in this order; nothing is changed."""
    found: list[Finding] = []
    for check in (
        _rights,
        _kernel,
        _cgroups,
        _overlay,
        _runtime,
        _conmon,
        _network,
        _firewall,
        _init,
        _images,
    ):
        try:
            found += check(node)
        except OrlopError as error:
            found.append(Finding(error.subject, "missing", error.cause, error.hint))
        except OSError as error:
            found.append(Finding(check.__name__.strip("_"), "missing", str(error), "see what this path is"))
    return found


def _rights(node: Node) -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("rights", "ok", "this is root")
    else:
        yield Finding("rights", "missing", "only root can make namespaces and mounts", "run it as root")


def _kernel(node: Node) -> Iterator[Finding]:
    try:
        os.close(kernel.openat2(-100, "/", os.O_PATH, resolve=0))
    except OSError:
        yield Finding(
            "kernel", "missing", f"Linux {os.uname().release} has no openat2", "use Linux 5.6 or newer"
        )
        return
    yield Finding("kernel", "ok", f"Linux {os.uname().release}")
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        yield Finding(
            "seccomp", "warning", "this kernel filters no system calls", "use one with CONFIG_SECCOMP"
        )


def _cgroups(node: Node) -> Iterator[Finding]:
    if os.path.exists(f"{_CGROUPS}/cgroup.controllers"):
        yield Finding("cgroups", "ok", "version 2")
        return
    absent = [name for name in ("memory", "cpu", "pids") if not os.path.isdir(f"{_CGROUPS}/{name}")]
    if absent:
        text = f"neither version 2 nor the version 1 controllers {', '.join(absent)} are mounted"
        yield Finding("cgroups", "missing", text, "mount -t cgroup2 none /sys/fs/cgroup")
        return
    if _knows_hugetlb() and not os.path.ismount(f"{_CGROUPS}/hugetlb"):
        yield Finding("cgroups", "missing", "version 1 without hugetlb, which crun wants", _HUGETLB)
        return
    yield Finding("cgroups", "ok", "version 1")


def _knows_hugetlb() -> bool:
    with open("/proc/cgroups", encoding="ascii") as stream:
        return any(line.startswith("hugetlb\t") for line in stream)


def _overlay(node: Node) -> Iterator[Finding]:
    """Mount one where the layers will be, and take it away again."""
    place = node.root
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    folder = tempfile.mkdtemp(prefix=".orlop-check-", dir=place)
    try:
        parts = {name: os.path.join(folder, name) for name in ("lower", "upper", "work", "merged")}
        for part in parts.values():
            os.mkdir(part)
        data = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        kernel.mount("overlay", parts["merged"], "overlay", data=data)
        kernel.umount(parts["merged"])
    except OSError as error:
        hint = "put --root on ext4 or xfs (not on another overlay), or load the module: modprobe overlay"
        yield Finding("overlay", "missing", f"cannot be mounted below {place}: {error.strerror}", hint)
    else:
        yield Finding("overlay", "ok", f"works below {place}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _runtime(node: Node) -> Iterator[Finding]:
    from orlop.runtime.engine import RuntimeSettings
    from orlop.runtime.features import find

    path = find(Config.load(node).section("runtime", RuntimeSettings).path)
    yield Finding("runtime", "ok", f"{path}: {_version(path)}")


def _conmon(node: Node) -> Iterator[Finding]:
    from orlop.runtime.engine import RuntimeSettings
    from orlop.runtime.features import find

    path = find(Config.load(node).section("runtime", RuntimeSettings).conmon)
    yield Finding("conmon", "ok", f"{path}: {_version(path)}")


def _network(node: Node) -> Iterator[Finding]:
    settings = Config.load(node).section("network", NetworkSettings)
    if settings.config_dir:
        files = sorted(glob.glob(os.path.join(glob.escape(settings.config_dir), "*.conf*")))
        if not files:
            hint = "put a network there, or take config_dir out of the configuration"
            yield Finding("network", "missing", f"no CNI configuration in {settings.config_dir}", hint)
        else:
            yield Finding("network", "ok", f"CNI configurations in {settings.config_dir}")
        return
    folders = settings.plugin_dirs
    absent = [
        name for name in _PLUGINS if not any(os.access(f"{folder}/{name}", os.X_OK) for folder in folders)
    ]
    if absent:
        text = f"the CNI plugins {', '.join(absent)} are in none of {', '.join(folders)}"
        yield Finding("network", "missing", text, "apt-get install containernetworking-plugins")
    else:
        yield Finding("network", "ok", "CNI plugins " + ", ".join(_PLUGINS))


def _firewall(node: Node) -> Iterator[Finding]:
    if shutil.which("iptables", path=process.MINIMAL_ENV["PATH"]):
        yield Finding("iptables", "ok", "is there, for host ports and masquerading")
    else:
        text = "the bridge and portmap plugins need it for host ports and masquerading"
        yield Finding("iptables", "missing", text, "apt-get install iptables")


def _init(node: Node) -> Iterator[Finding]:
    if any(os.access(path, os.X_OK) for path in _INITS):
        yield Finding("catatonit", "ok", "is there, for pods that share their processes")
    else:
        text = "pods with shareProcessNamespace will be refused"
        yield Finding("catatonit", "warning", text, "apt-get install catatonit")


def _images(node: Node) -> Iterator[Finding]:
    if os.path.isdir("/etc/ssl/certs") and os.listdir("/etc/ssl/certs"):
        yield Finding("certificates", "ok", "this machine trusts the usual authorities")
    else:
        text = "registries with TLS cannot be trusted"
        yield Finding("certificates", "warning", text, "apt-get install ca-certificates")


def _version(path: str) -> str:
    lines = process.run([path, "--version"], timeout=20, check=False).text.splitlines()
    return lines[0] if lines else "of unknown version"
