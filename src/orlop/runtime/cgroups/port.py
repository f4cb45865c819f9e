"""The port: what the rest of Orlop asks of control groups. `path` is the same below every controller."""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import select
import time

from orlop.kit.errors import Conflict, InvalidInput
from orlop.kit.value import dataclass
from orlop.runtime.model import Resources

ROOT = "/sys/fs/cgroup"
#: The group of the conmons, below a node's own; never a pod.
MONITORS = "conmon"
_TRIES = 200
_PAUSE = 0.01
_WATCHED = 256  # processes whose ends are waited for at once
_BLOCK = 64 * 1024
_SIGKILL = 9  # the module signal costs 1 ms of `orlop run`


@dataclass(frozen=True)
class Pressure:
    """How long tasks waited (PSI): averages in percent over 10, 60 and 300 seconds, `total` nanoseconds."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


@dataclass(frozen=True)
class Pressures:
    """PSI of one resource: `some` counts the time in which a task waited, `full` in which all did."""

    some: Pressure = Pressure()
    full: Pressure = Pressure()


@dataclass(frozen=True)
class DeviceIO:
    """What a group read from and wrote to one block device, since its beginning."""

    major: int
    minor: int
    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True)
class HugePages:
    """Of one page size ("2MB"), in bytes; `peak` is the most that it was."""

    size: str
    usage: int = 0
    peak: int = 0


@dataclass(frozen=True)
class CgroupStats:
    """Of a group and all below it. CPU in nanoseconds, memory in bytes; a limit of 0 is "none".

    The part from `cpu_user` on is read only where `stats` is asked for `detail`, as monitoring does.
    """

    cpu: int = 0
    memory: int = 0
    working_set: int = 0  # memory without the page cache that could go at once, as Kubernetes counts
    rss: int = 0
    memory_limit: int = 0
    pids: int = 0
    pids_limit: int = 0
    throttled: int = 0  # nanoseconds
    major_faults: int = 0
    page_faults: int = 0
    swap: int = 0
    swap_limit: int | None = None  # bytes of swap alone; None: no limit, or not accounted
    oom_kills: int = 0
    cpu_pressure: Pressures | None = None  # None: the kernel does not say
    memory_pressure: Pressures | None = None
    io_pressure: Pressures | None = None
    cache: int = 0
    mapped: int = 0
    periods: int = 0  # of the CPU quota, and those of them in which the group was held back
    throttled_periods: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    memory_peak: int = 0
    memory_kernel: int = 0
    memory_failures: int = 0  # how often the limit was met
    processes: int = 0  # of the group itself; `pids` counts their threads
    io: tuple[DeviceIO, ...] = ()
    hugepages: tuple[HugePages, ...] = ()


class Cgroups(abc.ABC):
    """Contract (tests/runtime/test_cgroups.py runs it on every kind):

    - Paths are absolute and lie below a node's own group; anything else is InvalidInput.
    - `create`, `kill` and `remove` are idempotent; an absent group has no pids and zero stats.
    - `remove` takes all below with it and waits briefly for processes that are ending; Conflict after that.
    - Never touches a group that it was not asked for.
    """

    unified = False
    swap = False  # whether the kernel accounts swap
    huge_pages = False  # whether there is a hugetlb controller

    @classmethod
    def for_machine(cls, root: str = ROOT) -> Cgroups:
        """V1 (hybrid included) or V2, by what is mounted at `root`."""
        if os.path.exists(os.path.join(root, "cgroup.controllers")):
            from orlop.runtime.cgroups.v2 import V2

            return V2(root)
        from orlop.runtime.cgroups.v1 import V1

        return V1(root)

    def __init__(self, root: str) -> None:
        self.root = root

    # What a kind has to give

    @abc.abstractmethod
    def trees(self) -> list[str]:
        """Each hierarchy's mount point."""

    @abc.abstractmethod
    def create(self, path: str, resources: Resources) -> None:
        """Make the group with these limits, for the pod as a whole; one that is there gets them.

        What is not set stays. Raises InvalidInput where the kernel refuses, Conflict where more is in use.
        """

    @abc.abstractmethod
    def limit(self, path: str, resources: Resources) -> None:
        """Change the limits of a group that is there, as `create` does. Raises Conflict where it is not."""

    @abc.abstractmethod
    def stats(self, path: str, *, detail: bool = False) -> CgroupStats:
        """A dozen small files, and with `detail` as many again. Zeros where the group is absent."""

    @abc.abstractmethod
    def oom_kills(self, path: str) -> int:
        """How many processes of the group the kernel killed for lack of memory."""

    @abc.abstractmethod
    def thaw(self, path: str) -> None:
        """Let a frozen group go on: only then can it be killed."""

    @abc.abstractmethod
    def monitor_tree(self) -> str:
        """The hierarchy that says to whom a process belongs (systemd's)."""

    # The same for all

    def children(self, path: str) -> list[str]:
        """Names of the groups directly below, in any hierarchy, the monitors' excepted."""
        found: set[str] = set()
        for tree in self.trees():
            with contextlib.suppress(FileNotFoundError), os.scandir(tree + checked(path)) as entries:
                found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return sorted(found - {MONITORS})

    def pids(self, path: str) -> list[int]:
        """Of the group and all below, in all hierarchies."""
        found: set[int] = set()
        for tree in self.trees():
            for folder in _deepest_first(tree + checked(path)):
                found.update(_numbers(os.path.join(folder, "cgroup.procs")))
        return sorted(found)

    def kill(self, path: str) -> None:
        """SIGKILL to everything in the group and below, forks under way included."""
        self.thaw(path)
        for _ in range(_TRIES):
            pids = [pid for pid in self.pids(path) if pid != os.getpid()]
            if not pids:
                return
            _end(pids)

    def remove(self, path: str) -> None:
        """Remove the group and all below. Raises Conflict where processes stay in it."""
        for tree in self.trees():
            _remove(tree, checked(path))

    def monitor(self, identity: str, pid: int) -> None:
        """Put a conmon where neither a service's end nor a pod's limits reach it. Failure is harmless."""
        folder = f"{self.monitor_tree()}/{identity}/{MONITORS}"
        for _ in range(3):
            try:
                write(f"{folder}/cgroup.procs", str(pid))
            except FileNotFoundError:  # not there yet, or taken away again just now
                with contextlib.suppress(OSError):
                    os.makedirs(folder, exist_ok=True)
            except OSError:
                return
            else:
                return


def _end(pids: list[int]) -> None:
    """SIGKILL to all, and wait a moment for their ends: the kernel says nothing when a v1 group empties."""
    poller = select.poll()
    handles: list[int] = []
    try:
        for pid in pids:
            with contextlib.suppress(OSError):
                if len(handles) < _WATCHED:
                    handles.append(os.pidfd_open(pid))
                    poller.register(handles[-1], select.POLLIN)
                os.kill(pid, _SIGKILL)
        deadline = time.monotonic() + _PAUSE
        waiting = set(handles)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for handle, _ in poller.poll(left * 1000):
                poller.unregister(handle)
                waiting.discard(handle)
        if len(pids) > len(handles):
            time.sleep(_PAUSE)
    finally:
        for handle in handles:
            os.close(handle)


def checked(path: str) -> str:
    """`path`, if it lies below some node's group and not in somebody else's."""
    parts = path.split("/")
    if not path.startswith("/") or len(parts) < 2 or {"", ".", ".."} & set(parts[1:]) or "\0" in path:
        raise InvalidInput(f"cgroup {path!r}", "is no path below a controller", hint="write it as /a/b")
    return path


def write(path: str, text: str) -> None:
    """One write(2), which is what the kernel takes as one order."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(path: str) -> str:
    """The file's text; "" where the group or the file is absent."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a fifth of what open() costs
    except OSError:
        return ""
    try:
        data = whole = os.read(descriptor, _BLOCK)
        while len(data) == _BLOCK:
            data = os.read(descriptor, _BLOCK)
            whole += data
    except OSError:  # the group went away meanwhile, or the file has nothing to say (PSI that is off)
        return ""
    finally:
        os.close(descriptor)
    return whole.decode("ascii", "replace")


def number(path: str, *, unlimited: int = 1 << 62) -> int:
    """The file's number; 0 where absent, `max`, or so large that it means no limit."""
    text = read(path).strip()
    value = int(text) if text.isdigit() else 0
    return 0 if value >= unlimited else value


def table(path: str) -> dict[str, int]:
    """Lines of `name number`."""
    pairs = (line.split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].lstrip("-").isdigit()}


def pressures(path: str) -> Pressures | None:
    """The file's PSI (psi.rst of the kernel's documentation); None where it is not accounted."""
    found: dict[str, Pressure] = {}
    for line in read(path).splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        try:
            found[kind] = Pressure(
                float(values["avg10"]),
                float(values["avg60"]),
                float(values["avg300"]),
                int(values["total"]) * 1000,
            )
        except (KeyError, ValueError):
            return None
    return Pressures(found.get("some", Pressure()), found.get("full", Pressure())) if found else None


def huge_page_sizes() -> tuple[str, ...]:
    """The machine's, as cgroup files name them ("2MB")."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except OSError:
        return ()
    kilobytes = (name.removeprefix("hugepages-").removesuffix("kB") for name in names)
    return tuple(_size_name(int(text)) for text in sorted(kilobytes) if text.isdigit())


def _size_name(kilobytes: int) -> str:
    for unit in ("KB", "MB", "GB"):
        if kilobytes < 1024:
            return f"{kilobytes}{unit}"
        kilobytes //= 1024
    return f"{kilobytes}TB"


def absent(path: str) -> Conflict:
    return Conflict(f"cgroup {path}", "is not there (any more)", hint="see: orlop ps --all")


def refused(path: str, file: str, value: str, error: OSError) -> Conflict | InvalidInput:
    """The error for a limit that the kernel does not take."""
    if error.errno == errno.EBUSY:
        return Conflict(f"cgroup {path}", f"uses more than {file} {value}", hint="free some first")
    return InvalidInput(
        f"cgroup {path}",
        f"the kernel refuses its limits: {file} {value}: {error.strerror}",
        hint="give other limits",
    )


def _numbers(path: str) -> list[int]:
    return [int(line) for line in read(path).split() if line.isdigit() and line != "0"]


def _deepest_first(folder: str) -> list[str]:
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found += _deepest_first(entry.path)
    except OSError:
        return found
    return [*found, folder]


def _remove(tree: str, path: str) -> None:
    for folder in _deepest_first(tree + path):
        for attempt in range(_TRIES):
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or attempt == _TRIES - 1:
                    raise Conflict(
                        f"cgroup {path}",
                        f"cannot be removed: {error.strerror}",
                        hint=f"see: cat {folder}/cgroup.procs",
                    ) from error
                _evict(tree, folder)
                time.sleep(_PAUSE)  # processes that are ending; the kernel has no event for it on v1
                continue
            break


def _evict(tree: str, folder: str) -> None:
    """Monitors outlive their container by a moment, and one may be our own parent: out of the way."""
    if os.path.basename(folder) == MONITORS:
        for pid in _numbers(os.path.join(folder, "cgroup.procs")):
            with contextlib.suppress(OSError):
                write(os.path.join(tree, "cgroup.procs"), str(pid))
