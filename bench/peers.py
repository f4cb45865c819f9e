"""The peers as a user of this machine would have them: Debian's podman, containerd from its Go module."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orlop.kit import kernel, process
from orlop.kit.errors import TimedOut
from tools.builds import program
from tools.builds.table import PROGRAMS

CACHE = Path(os.environ.get("ORLOP_BENCH_CACHE", "/var/cache/orlop-bench"))
CONTAINERD_VERSION = PROGRAMS["containerd"].version
_COMMAND_SECONDS = 300.0
_START_SECONDS = 30.0

_CONTAINERS_CONF = """\
[containers]
# This machine may lack CAP_SYS_RESOURCE: podman's own defaults would then fail every container.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "crun"
"""

_CONTAINERD_TOML = """\
version = 3
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
  "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
"""


@dataclass(frozen=True)
class Podman:
    """podman with a storage of its own below `folder`."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        return {
            **process.MINIMAL_ENV,
            "HOME": str(self.folder),
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
        }

    def storage(self) -> list[str]:
        """The options that podman and buildah share."""
        places = ["--root", str(self.folder / "root"), "--runroot", str(self.folder / "run")]
        return [*places, "--storage-driver", "overlay"]

    def argv(self, *arguments: str) -> list[str]:
        return ["podman", *self.storage(), "--cgroup-manager", "cgroupfs", *arguments]

    def run(self, *arguments: str) -> process.Completed:
        return process.run(self.argv(*arguments), env=self.env, timeout=_COMMAND_SECONDS)


@contextlib.contextmanager
def podman(folder: Path, registry: str) -> Iterator[Podman]:
    """A podman of its own; its storage is removed afterwards."""
    folder.mkdir(parents=True)
    (folder / "containers.conf").write_text(_CONTAINERS_CONF)
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    peer = Podman(folder)
    try:
        yield peer
    finally:
        peer.run("rm", "--all", "--force")
        peer.run("rmi", "--all", "--force")
        overlay = folder / "root" / "overlay"
        if overlay.is_mount():
            kernel.umount(str(overlay), kernel.MNT_DETACH)


@dataclass(frozen=True)
class Containerd:
    """A running containerd and its `ctr`."""

    socket: str
    pid: int

    def argv(self, *arguments: str) -> list[str]:
        return [str(program("ctr")), "--address", self.socket, *arguments]


@contextlib.contextmanager
def containerd(folder: Path) -> Iterator[Containerd]:
    """A containerd of its own with its root below `folder`."""
    folder.mkdir(parents=True)
    socket = str(folder / "containerd.sock")
    config = folder / "config.toml"
    config.write_text(_CONTAINERD_TOML.format(root=folder / "root", state=folder / "state", socket=socket))
    with open(folder / "log", "wb") as log:
        child = process.spawn(
            [str(program("containerd")), "--config", str(config)],
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
    try:
        peer = Containerd(socket, child.pid)
        deadline = time.monotonic() + _START_SECONDS
        while process.run(peer.argv("version"), check=False).status != 0:
            if time.monotonic() > deadline or child.poll() is not None:
                raise TimedOut("containerd", "does not answer", hint=f"see {folder}/log")
            time.sleep(0.1)
        yield peer
    finally:
        child.kill()
        child.wait()
