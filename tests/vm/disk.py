"""The guest's disk: Debian by mmdebstrap with Orlop's dependencies by pip, made once and kept in a cache.

And its payload, made for each run: Orlop's wheel, a registry's folder with every image that tests want, the
examples, critest.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.images import push_all
from tests.docs.pages import ROOT
from tests.support.images import busybox
from tests.support.registry import registry
from tools import hello
from tools.builds import program
from tools.builds.build import CACHE as _PROGRAMS

SUITE = "bookworm"
CACHE = _PROGRAMS.parent / "vm"
PROGRAM = "/opt/orlop/bin/orlop"
_PACKAGES = (
    "systemd-sysv,systemd,udev,dbus,linux-image-amd64,initramfs-tools,python3,python3-venv,crun,runc,conmon,"
    "catatonit,containernetworking-plugins,iptables,iproute2,docker-registry,ca-certificates,curl,procps,kmod,"
    "apparmor,sudo"  # the last two for critest, which loads profiles
)
_SIZE = "6G"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
_AGENT = Path(__file__).with_name("agent.py")
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


def disk() -> Path:
    """A folder with `disk.raw`, `vmlinuz` and `initrd` in it; nobody writes to them."""
    lock = ROOT / "requirements.lock"
    made_of = (SUITE, _PACKAGES, _SIZE, _UNIT, _AGENT.read_text(), lock.read_text())
    folder = CACHE / f"disk-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    with _locked():
        if not folder.exists():
            partial = CACHE / "partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _make(partial, lock)
            for old in CACHE.glob("disk-*"):
                shutil.rmtree(old)
            partial.rename(folder)
    return folder


def payload(file: Path, folder: Path) -> None:
    """Write a file system to `file`, which is made of what `folder` will have."""
    folder.mkdir()
    _run(*_PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder / "wheels"), str(ROOT))
    with registry(storage=folder / "registry") as running:
        busybox(running)
        hello.push(running)
        push_all(running)
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(program("critest"), folder / "critest")
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(folder), str(file), "512M")


def _make(folder: Path, lock: Path) -> None:
    root = folder / "root"
    _run(
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--quiet",
        f"--include={_PACKAGES}",
        SUITE,
        str(root),
    )
    (root / "usr/local/lib/agent.py").write_text(_AGENT.read_text())
    units = root / "etc/systemd/system"
    (units / "agent.service").write_text(_UNIT)
    (units / "multi-user.target.wants/agent.service").symlink_to("/etc/systemd/system/agent.service")
    for name in ("docker-registry.service", "systemd-networkd-wait-online.service"):
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")  # masked
    (root / "etc/hostname").write_text("guest\n")
    _install_dependencies(root, lock)
    shutil.copy(next(root.glob("boot/vmlinuz-*")), folder / "vmlinuz")
    shutil.copy(next(root.glob("boot/initrd.img-*")), folder / "initrd")
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(folder / "disk.raw"), _SIZE)
    shutil.rmtree(root)


def _install_dependencies(root: Path, lock: Path) -> None:
    """What the wheel depends on, as its users' pip would bring it; here, because the guest has no network."""
    wheels = root / "wheels"
    _run(*_PIP, "wheel", "--require-hashes", "-r", str(lock), "-w", str(wheels))
    _run("chroot", str(root), "python3", "-m", "venv", "/opt/orlop")
    files = [f"/wheels/{path.name}" for path in sorted(wheels.iterdir())]
    _run("chroot", str(root), "/opt/orlop/bin/pip", "-q", "install", "--no-index", "--no-deps", *files)
    shutil.rmtree(wheels)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=1200, stdin=subprocess.DEVNULL)


@contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
