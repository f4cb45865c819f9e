"""What a node has on its machine: taken before and after, two of these are equal where nothing leaked."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable

from orlop.kit.node import Node
from orlop.network.default import _bridge_name
from tests.support.node import mounts_below, processes

_ID = re.compile(r"[0-9a-f]{64}")
#: What may stay: SQLite's working files, locks of which there are 64 each, whoever takes them, and what was
#: being written at a kill, which a later look takes away.
_MAY_STAY = re.compile(r"-(wal|shm)$|/locks/(network/|rootfs-)\d{1,2}$|/(s|s/network|s/cache)/[^/]*\.tmp$")


def traces(node: Node, parent: str, *, daemon: int = 0) -> dict[str, list[str]]:
    """By kind, in lines that can be compared. `daemon`, a process, is nobody's leak."""
    return {
        # The node keeps layers mounted for the next pod, and takes mounts away that nobody needs.
        "mounts": sorted(path for path in mounts_below(node) if not path.startswith(f"{node.state}/layers/")),
        "links": sorted(_members(node) + _strays()),
        "addresses": _leases(node),
        "rules": _rules(node),
        "processes": [line for pid, line in processes(node) if pid != daemon],
        "cgroups": _groups(node, parent),
        "files": sorted(_files(node)),
        "rows": _rows(node),
    }


def differences(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """What is more, and what is less; a line each."""
    found = []
    for kind, lines in after.items():
        more, less = Counter(lines) - Counter(before[kind]), Counter(before[kind]) - Counter(lines)
        found += [f"{kind}: + {line}" for line in more.elements()]
        found += [f"{kind}: - {line}" for line in less.elements()]
    return found


def settled(look: Callable[[], list[str]], seconds: float = 10.0) -> list[str]:
    """What is still found after some time: conmon and the kernel are a moment behind."""
    deadline = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def daemon_has(pid: int) -> dict[str, int]:
    """Descriptors (databases apart: each thread has its own), threads, and memory in KiB of a process."""
    kinds: Counter[str] = Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{name}")
            kinds["database" if ".db" in target else "other"] += 1
    with open(f"/proc/{pid}/status", encoding="ascii") as stream:
        values = dict(line.split(":", 1) for line in stream.read().splitlines())
    return {
        "descriptors": kinds["other"],
        "databases": kinds["database"],
        "threads": int(values["Threads"]),
        "memory": int(values["VmRSS"].split()[0]),
        "children": len(_children(pid)),
    }


def _children(pid: int) -> list[str]:
    found: list[str] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as stream:
            found += stream.read().split()
    return found


def _members(node: Node) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(f"/sys/class/net/{_bridge_name(node)}/brif")
    return []


def _strays() -> list[str]:
    """Ends of pairs that no bridge has; those of other nodes are so for a moment only."""
    links = glob.glob("/sys/class/net/veth*")
    return [os.path.basename(link) for link in links if not os.path.exists(f"{link}/master")]


def _leases(node: Node) -> list[str]:
    """Addresses given out, without host-local's own notes."""
    with contextlib.suppress(OSError):
        names = os.listdir(node.in_root("network", "ipam", _bridge_name(node)))
        return sorted(name for name in names if name[0].isdigit())
    return []


def _rules(node: Node) -> list[str]:
    """Rules of this node's network, portmap's of its pods included, and chains that nothing leads to."""
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    lines = saved.splitlines()
    bridge = _bridge_name(node)
    found = [line for line in lines if bridge in line or node.identity in line]
    chains = [line[1:].split()[0] for line in lines if line.startswith((":CNI-DN-", ":CNI-SN-"))]
    reached = {line.rpartition(" -j ")[2].split()[0] for line in lines if " -j " in line}
    return sorted(found + [f"unreached {chain}" for chain in chains if chain not in reached])


def _groups(node: Node, parent: str) -> list[str]:
    """Cgroups of the node's own and below the pods' parents, which somebody else made and removes."""
    own = glob.glob(f"/sys/fs/cgroup/**/{node.identity}/**/", recursive=True)
    below = [*glob.glob(f"/sys/fs/cgroup{parent}/pod*/*/"), *glob.glob(f"/sys/fs/cgroup/*{parent}/pod*/*/")]
    return sorted({*own, *below})


def _files(node: Node) -> list[str]:
    """Paths below the node's folders, IDs made equal; what is inside layers and mounts is not looked at."""
    found = []
    for top in (node.root, node.state):
        for folder, folders, names in os.walk(top):
            folders[:] = [name for name in folders if name not in ("layers", "diff")]
            found += [_ID.sub("ID", os.path.join(folder, name)) for name in (*folders, *names)]
    return [path for path in found if not _MAY_STAY.search(path)]


def _rows(node: Node) -> list[str]:
    """Every row of the node's databases that speaks of a pod, a container, or the use of an image."""
    found = []
    for name, tables in (
        ("pods.db", ("sandboxes", "containers")),
        ("store.db", ("rootfs", "volumes", "uses")),
    ):
        with contextlib.closing(sqlite3.connect(node.in_root(name))) as database:
            for table in tables:
                rows = database.execute(f"SELECT * FROM {table}").fetchall()
                found += [f"{name} {table} {str(row)[:120]}" for row in rows]
    return found
