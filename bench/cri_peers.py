"""The CRI daemons to measure, each on a root of its own, with the same runtime, CNI plugins and registry."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from orlop.kit import kernel, process
from orlop.kit.errors import TimedOut
from tools.builds import program

_CNI = "/usr/lib/cni"
_START_SECONDS = 60.0
_CONTAINERD = """\
version = 3
root = "{folder}/root"
state = "{folder}/run"
[grpc]
address = "{socket}"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{folder}/cni"
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "crun"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.crun.options]
BinaryName = "{crun}"
SystemdCgroup = false
[plugins."io.containerd.nri.v1.nri"]
disable = true
"""
_CRIO = """\
[crio]
root = "{folder}/root"
runroot = "{folder}/run"
log_dir = "{folder}/logs"
version_file = "{folder}/version"
version_file_persist = "{folder}/version-kept"
clean_shutdown_file = "{folder}/clean"
storage_driver = "overlay"
[crio.api]
listen = "{socket}"
stream_port = "0"
[crio.image]
pause_image = "{pause}"
signature_policy = "{folder}/policy.json"
[crio.network]
network_dir = "{folder}/cni"
plugin_dirs = ["{cni}"]
[crio.nri]
enable_nri = false
[crio.runtime]
default_runtime = "crun"
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "{pinns}"
namespaces_dir = "{folder}/ns"
container_exits_dir = "{folder}/exits"
container_attach_socket_dir = "{folder}/attach"
internal_wipe = false
default_ulimits = ["nofile=1024:1024"]
[crio.runtime.runtimes.crun]
runtime_path = "{crun}"
runtime_type = "oci"
runtime_root = "{folder}/crun"
monitor_path = "/usr/bin/conmon"
monitor_cgroup = "pod"
"""


@dataclass(frozen=True)
class Peer:
    """A running daemon. `monitors` are the programs that stay with each of its pods or containers."""

    name: str
    socket: str
    pid: int
    monitors: tuple[str, ...]


@contextlib.contextmanager
def orlop(folder: Path, registry: str, pause: str, prefix: tuple[str, ...] = ()) -> Iterator[Peer]:
    """Our own daemon."""
    del pause  # a pod of ours has no such container
    _prepare(folder, "orlop", 42)
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    config = folder / "orlop.toml"
    config.write_text(
        f'[runtime]\npath = "{program("crun")}"\n'
        f'[network]\nconfig_dir = "{folder}/cni"\nplugin_dirs = ["{_CNI}"]\n'
    )
    socket = f"{folder}/orlop.sock"
    where = [f"--root={folder}/root", f"--state={folder}/run", f"--config={config}"]
    env = {**process.MINIMAL_ENV, "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf"}
    argv = [*prefix, sys.executable, "-m", "orlop", "serve", f"--listen=unix://{socket}", *where]
    try:
        with _daemon("orlop", argv, socket, folder, env) as pid:
            yield Peer("orlop", socket, pid, ("conmon",))
    finally:
        process.run(
            [*prefix, sys.executable, "-m", "orlop", "pod", "remove", "--all", "--force", *where], env=env
        )


@contextlib.contextmanager
def containerd(folder: Path, registry: str, pause: str, prefix: tuple[str, ...] = ()) -> Iterator[Peer]:
    """containerd with the runc shim over the same runtime."""
    del registry  # on loopback plain HTTP is its default
    _prepare(folder, "containerd", 43)
    socket = f"{folder}/containerd.sock"
    config = folder / "config.toml"
    crun = program("crun")
    config.write_text(_CONTAINERD.format(folder=folder, socket=socket, pause=pause, cni=_CNI, crun=crun))
    shims = folder / "bin"
    shims.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (shims / "containerd-shim-runc-v2").symlink_to(program("containerd-shim-runc-v2"))
    env = {**process.MINIMAL_ENV, "PATH": f"{shims}:{process.MINIMAL_ENV['PATH']}"}
    argv = [*prefix, str(program("containerd")), f"--config={config}"]
    with _daemon("containerd", argv, socket, folder, env) as pid:
        yield Peer("containerd", socket, pid, ("containerd-shim",))


@contextlib.contextmanager
def crio(folder: Path, registry: str, pause: str, prefix: tuple[str, ...] = ()) -> Iterator[Peer]:
    """CRI-O with conmon over the same runtime."""
    _prepare(folder, "crio", 44)
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (folder / "registries.conf").write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
    socket = f"{folder}/crio.sock"
    values = {"folder": folder, "socket": socket, "pause": pause, "cni": _CNI}
    config = folder / "crio.conf"
    config.write_text(_CRIO.format(crun=program("crun"), pinns=program("pinns"), **values))
    env = {**process.MINIMAL_ENV, "CONTAINERS_REGISTRIES_CONF": f"{folder}/registries.conf"}
    argv = [*prefix, str(program("crio")), f"--config={config}", "--config-dir="]
    with _daemon("crio", argv, socket, folder, env) as pid:
        yield Peer("crio", socket, pid, ("conmon",))


PEERS: dict[str, Callable[..., contextlib.AbstractContextManager[Peer]]] = {
    "orlop": orlop,
    "containerd": containerd,
    "crio": crio,
}


def _prepare(folder: Path, name: str, octet: int) -> None:
    """The same network for each, on a bridge and with addresses of its own."""
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    ranges = [[{"subnet": f"10.{octet}.0.0/16"}]]
    bridge = {
        "type": "bridge",
        "bridge": f"ben{octet}",
        "isGateway": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": f"{folder}/addresses",
            "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    document = {"cniVersion": "1.0.0", "name": f"bench-{name}", "plugins": [bridge]}
    (folder / "cni" / "10-bench.conflist").write_text(json.dumps(document))


@contextlib.contextmanager
def _daemon(name: str, argv: list[str], socket: str, folder: Path, env: dict[str, str]) -> Iterator[int]:
    with open(folder / "log", "wb") as log:
        child = process.spawn(argv, env=env, stdout=log.fileno(), stderr=log.fileno())
    try:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            try:
                grpc.channel_ready_future(channel).result(_START_SECONDS)
            except grpc.FutureTimeoutError:
                raise TimedOut(name, "does not answer", hint=f"see {folder}/log") from None
        yield child.pid
    finally:
        os.kill(child.pid, signal.SIGTERM)
        time.sleep(1)
        child.kill()
        child.wait()
        _clean(folder)


def _clean(folder: Path) -> None:
    """Mounts and the bridge that a daemon leaves behind. (In a namespace, the bridge goes with it.)"""
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        places = [line.split()[4] for line in stream]
    for place in sorted((p for p in places if p.startswith(f"{folder}/")), reverse=True):
        with contextlib.suppress(OSError):
            kernel.umount(place, kernel.MNT_DETACH)
    conf = json.loads((folder / "cni" / "10-bench.conflist").read_text())
    process.run(["ip", "link", "delete", conf["plugins"][0]["bridge"]], check=False)
    if os.path.isdir(folder / "ns"):
        process.run(["rm", "-rf", str(folder / "ns")], check=False)
