"""A real Kubernetes of one node: etcd, the control plane and a kubelet, in a network namespace of their own.

    with network() as netns, control_plane(folder, netns) as plane:
        with kubelet(plane, "1.36", endpoint="unix:///...") as node:
            plane.kubectl("get", "nodes")

Everything listens in the namespace only, on its loopback and on an interface with the node's
address. The programs are children of the test process and die with it; cgroups are below one of our own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tools.builds import program

NODE_ADDRESS = "10.250.0.1"
NODE_NAME = "ship"
_TOKEN = secrets.token_hex(16)
_READY_SECONDS = 120.0
_CGROUPS = Path("/sys/fs/cgroup")
#: What a kubelet sets for the whole machine; put back afterwards.
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")


@contextlib.contextmanager
def network() -> Iterator[str]:
    """The name of a network namespace with a loopback and the node's address."""
    name = f"orlop-k8s-{secrets.token_hex(3)}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "link", "add", "node0", "type", "veth", "peer", "name", "node1")
        _ip("-n", name, "link", "set", "node1", "up")
        _ip("-n", name, "addr", "add", f"{NODE_ADDRESS}/24", "dev", "node0")
        _ip("-n", name, "link", "set", "node0", "up")
        _ip("-n", name, "route", "add", "default", "dev", "node0")
        yield name
    finally:
        _ip("netns", "delete", name)


def inside(netns: str) -> list[str]:
    """What stands before a command line to run it in the namespace."""
    return ["nsenter", f"--net=/run/netns/{netns}", "--"]


@dataclass
class ControlPlane:
    """A running API server with its scheduler and controllers."""

    folder: Path
    netns: str
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def kubectl_argv(self, *arguments: str) -> list[str]:
        return [*inside(self.netns), str(program("kubectl")), f"--kubeconfig={self.kubeconfig}", *arguments]

    def kubectl(
        self, *arguments: str, stdin: str = "", check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl to its end."""
        done = subprocess.run(
            self.kubectl_argv(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=_environment(self.folder),
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get ... -o json`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json").stdout)
        return found

    def apply(self, *documents: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def wait(self, what: str, until: Callable[[], bool], timeout: float = 90) -> None:
        """Until `until` says so; fails saying what did not come, with the events that may explain it."""
        deadline = time.monotonic() + timeout
        while not until():
            if time.monotonic() > deadline:
                events = self.kubectl("get", "events", "-A", "--sort-by=.lastTimestamp", check=False).stdout
                raise AssertionError(f"{what}: not within {timeout:g} s\n{events[-4000:]}")
            time.sleep(0.2)

    def delete(self, *arguments: str) -> None:
        self.kubectl("delete", "--ignore-not-found", *arguments)


@contextlib.contextmanager
def control_plane(folder: Path, netns: str) -> Iterator[ControlPlane]:
    """etcd, API server, controllers and scheduler; their logs are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    plane = ControlPlane(folder, netns)
    (folder / "tokens.csv").write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
    _service_account_key(folder / "sa.key")
    plane.kubeconfig.write_text(yaml.safe_dump(_kubeconfig()))
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running(plane, "etcd", *_etcd(folder)))
        stack.enter_context(_running(plane, "kube-apiserver", *_api_server(folder)))
        plane.wait("the API server", lambda: _is_up(plane), _READY_SECONDS)
        controllers = (
            f"--service-account-private-key-file={folder}/sa.key",
            f"--root-ca-file={folder}/certs/apiserver.crt",
            "--use-service-account-credentials=false",
        )
        common = (f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")
        stack.enter_context(_running(plane, "kube-controller-manager", *common, *controllers))
        stack.enter_context(_running(plane, "kube-scheduler", *common))
        plane.wait(
            "the default service account",
            lambda: plane.kubectl("get", "serviceaccount", "default", check=False).returncode == 0,
            _READY_SECONDS,
        )
        yield plane


@dataclass
class Kubelet:
    """A kubelet that can be killed and started again on the same folder."""

    plane: ControlPlane
    minor: str
    folder: Path
    endpoint: str
    cgroup: str
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [str(program(f"kubelet-{self.minor}")), f"--config={self.folder}/config.yaml"]
        argv += [f"--kubeconfig={self.plane.kubeconfig}", f"--root-dir={self.folder}/root"]
        argv += [f"--hostname-override={NODE_NAME}", f"--node-ip={NODE_ADDRESS}", "-v=2"]
        argv += [f"--cert-dir={self.folder}/pki"]
        self.child = _spawn(self.plane, "kubelet", argv)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.child is not None:
            self.child.kill()
            self.child.wait()
            self.child = None

    def is_ready(self) -> bool:
        done = self.plane.kubectl("get", "node", NODE_NAME, "-o", "json", check=False)
        if done.returncode != 0:
            return False
        conditions = json.loads(done.stdout)["status"].get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@contextlib.contextmanager
def kubelet(plane: ControlPlane, minor: str, *, endpoint: str, **config: Any) -> Iterator[Kubelet]:
    """A Ready node. `config` adds to the kubelet's configuration."""
    folder = plane.folder / f"kubelet-{minor}-{secrets.token_hex(2)}"
    folder.mkdir()
    cgroup = f"/orlop-kubelet-{secrets.token_hex(3)}"
    (folder / "config.yaml").write_text(
        yaml.safe_dump({**_kubelet_config(folder, endpoint, cgroup), **config})
    )
    kept = {name: Path("/proc/sys", name).read_text() for name in _SYSCTLS}
    _make_cgroup(cgroup)
    node = Kubelet(plane, minor, folder, endpoint, cgroup)
    try:
        node.start()
        plane.wait("the node to become Ready", node.is_ready, _READY_SECONDS)
        yield node
    finally:
        node.kill()
        plane.kubectl("delete", "node", NODE_NAME, "--ignore-not-found", check=False)
        _remove_cgroup(cgroup)
        _unmount_below(folder)
        for name, value in kept.items():
            with contextlib.suppress(OSError):
                Path("/proc/sys", name).write_text(value)


def _etcd(folder: Path) -> tuple[str, ...]:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return (
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    )


def _api_server(folder: Path) -> tuple[str, ...]:
    return (
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=127.0.0.1",
        "--secure-port=6443",
        f"--advertise-address={NODE_ADDRESS}",
        f"--cert-dir={folder}/certs",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.251.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/sa.key",
        f"--service-account-signing-key-file={folder}/sa.key",
        "--allow-privileged=true",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
        "--feature-gates=ContainerStopSignals=true",
    )


def _kubeconfig() -> dict[str, Any]:
    cluster = {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
    }


def _kubelet_config(folder: Path, endpoint: str, cgroup: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": endpoint,
        "failCgroupV1": False,
        "failSwapOn": False,
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "podLogsDir": f"{folder}/logs",
        "volumePluginDir": f"{folder}/plugins",
        "resolvConf": "",
        "registerWithTaints": [],
        "serializeImagePulls": False,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "2s",
        "shutdownGracePeriod": "0s",
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }


def _service_account_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _is_up(plane: ControlPlane) -> bool:
    return plane.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"


@contextlib.contextmanager
def _running(plane: ControlPlane, name: str, *arguments: str) -> Iterator[None]:
    child = _spawn(plane, name, [str(program(name)), *arguments])
    try:
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _spawn(plane: ControlPlane, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
    with (plane.folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [*inside(plane.netns), "setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(plane.folder),
        )


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME": str(folder)}


def _make_cgroup(path: str) -> None:
    """The kubelet wants its root group to be there, in every hierarchy."""
    for tree in _trees():
        folder = tree / path.lstrip("/")
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset (v1) begins empty
            if (folder / name).exists() and not (folder / name).read_text().strip():
                (folder / name).write_text((tree / name).read_text())


def _remove_cgroup(path: str) -> None:
    """With all below; whatever still runs there is ours, and is killed."""
    for _ in range(50):
        left = [tree / path.lstrip("/") for tree in _trees() if (tree / path.lstrip("/")).exists()]
        if not left:
            return
        for top in left:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    for pid in Path(folder, "cgroup.procs").read_text().split():
                        os.kill(int(pid), signal.SIGKILL)
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        time.sleep(0.1)


def _trees() -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()]


def _unmount_below(folder: Path) -> None:
    """Volumes of pods that a killed kubelet left."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(folder / "root", ignore_errors=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
