"""Build and boot the guest. Its root is made once for this machine; every boot gets a fresh disk."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT
from tests.support import images

CACHE = Path(os.environ.get("ORLOP_TEST_CACHE", "/var/cache/orlop-tests")) / "vm"
_PACKAGES = (
    "systemd-sysv,systemd,udev,dbus,linux-image-amd64,initramfs-tools,python3,python3-venv,crun,runc,conmon,"
    "catatonit,containernetworking-plugins,iptables,iproute2,docker-registry,busybox-static,ca-certificates,"
    "curl,procps,kmod,skopeo"
)
_BOOT_SECONDS = 300.0
_UNIT = """\
[Unit]
Description=Commands from outside, for tests
After=basic.target
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/agent.py
Restart=always
[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Answer:
    status: int
    stdout: str
    stderr: str


@dataclass
class Guest:
    """A running guest. `run` gives a command to its agent and waits for the answer."""

    process: subprocess.Popen[bytes]
    path: Path
    console: Path
    _port: socket.socket = field(init=False)
    _pending: bytes = b""

    def __post_init__(self) -> None:
        self._connect()

    def run(self, *argv: str, timeout: float = 120, check: bool = True) -> Answer:
        request = json.dumps({"argv": argv, "timeout": timeout}) + "\n"
        self._port.sendall(request.encode())
        answer = self._line(timeout + 30)
        found = Answer(answer["status"], answer["stdout"], answer["stderr"])
        if check and found.status:
            raise AssertionError(f"{' '.join(argv)}: {found.status}\n{found.stdout}\n{found.stderr}")
        return found

    def reboot(self) -> None:
        """Reboot as an operator would, and wait until the agent is there again."""
        self._port.sendall(json.dumps({"argv": ["systemctl", "reboot"], "timeout": 60}).encode() + b"\n")
        self._await_ready()

    def _connect(self) -> None:
        deadline = time.monotonic() + _BOOT_SECONDS
        while True:
            self._port = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                self._port.connect(str(self.path))
                break
            assert time.monotonic() < deadline, "QEMU does not listen"
            time.sleep(0.1)
        self._await_ready()

    def _await_ready(self) -> None:
        while "ready" not in self._line(_BOOT_SECONDS):
            pass

    def _line(self, timeout: float) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while b"\n" not in self._pending:
            assert self.process.poll() is None, f"the guest ended: {self.console.read_text()[-2000:]}"
            self._port.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                self._pending += self._port.recv(65536)
            except TimeoutError:
                raise AssertionError(f"the guest is silent: {self.console.read_text()[-2000:]}") from None
        line, _, self._pending = self._pending.partition(b"\n")
        return dict(json.loads(line))


@contextlib.contextmanager
def guest(folder: Path) -> Iterator[Guest]:
    """A booted guest with Orlop's wheel installed in /opt/orlop and the busybox image in /payload/busybox."""
    disk, payload = folder / "disk.raw", folder / "payload.tar"
    _write_disk(disk)
    _write_payload(payload, folder)
    root, path, console = _root(), folder / "agent.sock", folder / "console.log"
    argv = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "3072"]
    argv += ["-nodefaults", "-display", "none", "-serial", f"file:{console}"]
    argv += [
        "-kernel",
        str(next(root.glob("boot/vmlinuz-*"))),
        "-initrd",
        str(next(root.glob("boot/initrd*"))),
    ]
    argv += [
        "-append",
        "root=/dev/vda rw console=ttyS0 quiet systemd.mask=systemd-networkd-wait-online.service",
    ]
    argv += ["-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]
    argv += ["-drive", f"file={payload},format=raw,if=virtio,readonly=on"]
    argv += ["-device", "virtio-serial", "-chardev", f"socket,id=agent,path={path},server=on,wait=off"]
    argv += ["-device", "virtserialport,chardev=agent,name=orlop.agent"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        running = Guest(process, path, console)
        running.run("sh", "-c", "mkdir -p /payload && tar -C /payload -xf /dev/vdb")
        running.run("python3", "-m", "venv", "/opt/orlop", timeout=600)
        running.run(
            "sh",
            "-c",
            "/opt/orlop/bin/pip install --no-index --find-links /payload/wheels orlop",
            timeout=600,
        )
        yield running
    finally:
        process.kill()
        process.wait()


def _root() -> Path:
    """The guest's root folder, made by mmdebstrap once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    root = CACHE / "root"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "boot").exists():
            partial = CACHE / "root.partial"
            shutil.rmtree(partial, ignore_errors=True)
            argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--quiet", f"--include={_PACKAGES}"]
            subprocess.run([*argv, "bookworm", str(partial)], check=True, timeout=1200)
            partial.rename(root)
        (root / "usr/local/lib/agent.py").write_text((ROOT / "tests/vm/agent.py").read_text())
        (root / "etc/systemd/system/agent.service").write_text(_UNIT)
        wanted = root / "etc/systemd/system/multi-user.target.wants/agent.service"
        wanted.unlink(missing_ok=True)
        wanted.symlink_to("/etc/systemd/system/agent.service")
        (root / "etc/systemd/system/docker-registry.service").unlink(missing_ok=True)
        (root / "etc/hostname").write_text("guest\n")
    return root


def _write_disk(disk: Path) -> None:
    argv = ["mke2fs", "-q", "-t", "ext4", "-d", str(_root()), str(disk), "6G"]
    subprocess.run(argv, check=True, timeout=300)


def _write_payload(payload: Path, folder: Path) -> None:
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    lock = str(ROOT / "requirements.lock")
    subprocess.run([*pip, "wheel", "--require-hashes", "-r", lock, "-w", str(wheels)], check=True)
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)]
    subprocess.run(build, check=True)
    layout = images.write_layout(folder / "busybox", {"latest": images.busybox_image()})
    with tarfile.open(payload, "w") as archive:
        archive.add(wheels, "wheels")
        archive.add(layout, "busybox")
        archive.add(ROOT / "examples", "examples")
