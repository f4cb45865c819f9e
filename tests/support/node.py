"""A node of its own below a short temporary folder, with images in its store; afterwards nothing may be left.

with temporary_node() as node:                       # busybox:latest is in its store
    pods = Pods(node, Config.load(node))

At the end every pod is removed and the node torn down; a mount, pin, bridge, iptables rule, cgroup or process
that is left fails the test that used it (after it was cleaned away, so that the next one starts clean).
"""

from __future__ import annotations

import contextlib
import functools
import glob
import io
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from orlop.image.sink import Reader
from orlop.kit import kernel
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.kit.progress import QuietMeter
from orlop.network.default import DefaultNetwork, _bridge_name
from orlop.network.settings import NetworkSettings
from orlop.pod.context import Pods
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.teardown import teardown
from orlop.runtime.cgroups.port import Cgroups
from orlop.store.store import Store
from tests.support.images import Image, busybox_image
from tests.support.records import record_of, requests_of

BUSYBOX = "docker.io/library/busybox:latest"


@contextlib.contextmanager
def temporary_node(
    *, images: Mapping[str, Image] | None = None, config: str = "", check: bool = True
) -> Iterator[Node]:
    """A node with `images` (canonical name -> image; busybox by default) and this text in its orlop.toml."""
    folder = tempfile.mkdtemp(prefix="on-", dir="/tmp")  # short: Unix sockets' paths have 107 bytes
    os.chmod(folder, 0o711)  # the root of a pod's user namespace passes through it
    node = Node(f"{folder}/r", f"{folder}/s", f"{folder}/orlop.toml")
    try:
        with open(node.config, "w", encoding="utf-8") as stream:
            stream.write(config)
        for name, image in ({BUSYBOX: busybox()} if images is None else images).items():
            put_image(node, name, image)
        yield node
    finally:
        problems = _emptied(node)
        problems += leaks(node)
        _clean(node)
        shutil.rmtree(folder, ignore_errors=True)
    if check:
        assert not problems, "left behind: " + "; ".join(problems)


@functools.cache
def busybox() -> Image:
    """The busybox image of these tests, made once a process; its layer uncompressed, to be quick."""
    from dataclasses import replace

    image = busybox_image()
    return replace(image, layers=tuple(replace(layer, compression="") for layer in image.layers))


def put_image(node: Node, name: str, image: Image) -> str:
    """Put an image straight into the node's store; returns its ID."""
    store = Store(node)
    with store.lease():
        for request, layer in zip(requests_of(image), image.layers, strict=True):
            open_blob = functools.partial(_opened, layer.blob)
            store.ensure_layer(request, open_blob, meter=QuietMeter(), tick=lambda: None)
        store.put_image(record_of(image, name))
    store.close()
    return image.id


def leaks(node: Node) -> list[str]:
    """What this node has outside its folders: a line each."""
    found = [f"mount {path}" for path in mounts_below(node)]
    found += [f"cgroup {path}" for path in glob.glob(f"/sys/fs/cgroup/**/{node.identity}", recursive=True)]
    bridge = _bridge_name(node)
    if os.path.exists(f"/sys/class/net/{bridge}"):
        found.append(f"bridge {bridge}")
    found += [f"process {pid}: {line}" for pid, line in processes(node)]
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=False).stdout
    found += [f"iptables {line}" for line in rules.splitlines() if bridge in line or node.identity in line]
    return found


def left_of_pods(node: Node) -> list[str]:
    """As `leaks`, without what is kept for the next pod: its bridge and rules, the mounts of layers."""
    kept = ("bridge ", "iptables ", f"mount {node.state}/layers/")
    return [line for line in leaks(node) if not line.startswith(kept)]


def mounts_below(node: Node) -> list[str]:
    """Mount points below the node's folders, innermost first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        points = [line.split()[4] for line in stream]
    return [
        point
        for point in sorted(points, key=len, reverse=True)
        if point.startswith((node.root + "/", node.state + "/")) or point in (node.root, node.state)
    ]


def processes(node: Node) -> list[tuple[int, str]]:
    """Processes that name the node's folders in their arguments (conmon, the runtime), but not this one."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) in (os.getpid(), os.getppid()):
            continue
        with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as stream:
            line = stream.read().replace(b"\0", b" ").decode(errors="replace")
            if f"{node.state}/" in line or f"{node.root}/" in line or f"{node.root} " in line:
                found.append((int(entry), line.strip()[:200]))
    return found


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Reader]:
    yield io.BytesIO(data)


def _emptied(node: Node) -> list[str]:
    """Remove what the test left in use, as a user would; failures are findings."""
    problems: list[str] = []
    try:
        pods = Pods(node, Config.load(node))
        for row in pods.records.rows("sandboxes"):
            remove_sandbox(pods, row["id"])
        teardown(pods)
        pods.close()
    except Exception as error:
        problems.append(f"teardown: {error!r}")
    deadline = time.monotonic() + 3
    while processes(node) and time.monotonic() < deadline:  # conmon ends a moment after its container
        time.sleep(0.02)
    return problems


def _clean(node: Node) -> None:
    """By force: after a teardown that failed, and of what it left. Containers do not name the node in their
    arguments, so their cgroup tells."""
    cgroups = Cgroups.for_machine()
    for pid, _ in processes(node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        cgroups.kill(f"/{node.identity}")
        cgroups.remove(f"/{node.identity}")
    for point in mounts_below(node):
        with contextlib.suppress(OSError):
            kernel.umount(point, kernel.MNT_DETACH)
    with contextlib.suppress(Exception):
        DefaultNetwork(node, NetworkSettings()).remove()


def opened(node: Node) -> AbstractContextManager[Pods]:
    """A `Pods` on the node, closed at the end of the block."""
    return contextlib.closing(Pods(node, Config.load(node)))
