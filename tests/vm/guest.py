"""Boot the guest and give it commands. It writes to a snapshot of the disk, which ends with it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.images import registries_conf
from tests.vm.disk import PROGRAM, disk, payload

#: Time limits of tests are what an idle machine needs many times over; a busy one gets this times as much.
_PATIENCE = 4.0
_BOOT_SECONDS = 120.0 * _PATIENCE
REGISTRY = "127.0.0.1:5055"
BUSYBOX = f"{REGISTRY}/busybox:latest"
_FILES = {
    "/etc/registry.yml": f"""\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: /payload/registry}}
  maintenance: {{readonly: {{enabled: true}}, uploadpurging: {{enabled: false}}}}
http: {{addr: "{REGISTRY}"}}
""",
    "/etc/systemd/system/registry.service": """\
[Unit]
Description=A registry on loopback, with the images that tests want
RequiresMountsFor=/payload
[Service]
ExecStart=docker-registry serve /etc/registry.yml
Restart=always
[Install]
WantedBy=multi-user.target
""",
    "/etc/containers/registries.conf": f'[[registry]]\nlocation = "{REGISTRY}"\ninsecure = true\n\n'
    + registries_conf(REGISTRY),
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 guest\n",
    "/etc/fstab": "/dev/vdb /payload ext4 ro 0 0\n",
}


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

    def run(self, *argv: str, timeout: float = 60, check: bool = True) -> Answer:
        limit = timeout * _PATIENCE
        self._port.sendall(json.dumps({"argv": argv, "timeout": limit}).encode() + b"\n")
        answer = self._line(limit + 30)
        found = Answer(answer["status"], answer["stdout"], answer["stderr"])
        if check and found.status:
            raise AssertionError(f"{' '.join(argv)}: {found.status}\n{found.stdout}\n{found.stderr}")
        return found

    def orlop(self, *arguments: str, timeout: float = 60) -> str:
        """What the installed program says to its standard output."""
        return self.run(PROGRAM, *arguments, timeout=timeout).stdout

    def write(self, path: str, text: str) -> None:
        """Write a file of at most some dozen KiB."""
        folder = str(Path(path).parent)
        self.run("sh", "-c", 'mkdir -p "$1" && printf %s "$2" > "$3"', "sh", folder, text, path)

    def until(self, script: str, timeout: float = 60) -> None:
        """Wait until this shell script ends well."""
        looking = 'until sh -c "$1" >/dev/null 2>&1; do sleep 0.2; done'
        self.run("sh", "-c", looking, "sh", script, timeout=timeout)

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
    """A booted guest: Orlop's wheel in /opt/orlop, the payload in /payload, a registry with its images.

    `folder` gets the console's and the agent's ends, and whatever the guest writes to its disk.
    """
    made, contents = disk(), folder / "payload.img"
    payload(contents, folder / "payload")
    path, console = folder / "agent.sock", folder / "console.log"
    argv = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "3072"]
    argv += ["-nodefaults", "-display", "none", "-serial", f"file:{console}"]
    argv += ["-kernel", f"{made}/vmlinuz", "-initrd", f"{made}/initrd"]
    argv += ["-append", "root=/dev/vda rw console=ttyS0 quiet"]
    argv += ["-drive", f"file={made}/disk.raw,format=raw,if=virtio,cache=unsafe,snapshot=on"]
    argv += ["-drive", f"file={contents},format=raw,if=virtio,readonly=on"]
    argv += ["-device", "virtio-serial", "-chardev", f"socket,id=agent,path={path},server=on,wait=off"]
    argv += ["-device", "virtserialport,chardev=agent,name=orlop.agent"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder)})
    try:
        running = Guest(process, path, console)
        for name, text in _FILES.items():
            running.write(name, text)
        running.run("sh", "-c", "mkdir -p /payload && mount /payload && systemctl daemon-reload")
        running.run("systemctl", "enable", "--now", "registry.service")
        running.run("sh", "-c", "/opt/orlop/bin/pip install --no-index /payload/wheels/*.whl", timeout=200)
        running.until(f"curl -sf http://{REGISTRY}/v2/")
        yield running
    finally:
        process.kill()
        process.wait()
