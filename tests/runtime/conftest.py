"""A bench for containers without pods: a root of static busybox, an engine per installed OCI runtime."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from orlop.kit import kernel
from orlop.kit.node import Node
from orlop.runtime.engine import Engine, RuntimeSettings
from orlop.runtime.exits import Exit
from orlop.runtime.model import ContainerSpec, Process

_APPLETS = (
    "sh cat echo sleep true false id env ls grep head mount umount hostname sysctl ps kill dd stty tty "
    "touch mkdir chroot unshare pwd wc tail yes test nproc seq"
)


def runtimes() -> list[str]:
    """crun and runc of the machine, youki where it is, and builds that somebody put into the cache folder."""
    found = [name for name in ("crun", "runc", "youki") if shutil.which(name)]
    return found + sorted(glob.glob(os.path.expanduser("~/.cache/orlop/runtimes/*")))


class Bench:
    """Makes and runs containers below a folder of its own."""

    def __init__(self, folder: str, runtime: str) -> None:
        self.folder = folder
        self.node = Node(f"{folder}/r", f"{folder}/s", f"{folder}/orlop.toml")
        self.engine = Engine(self.node, RuntimeSettings(path=runtime))
        self.made: list[str] = []
        self.pod = f"/{self.node.identity}/pod"

    def root(self) -> str:
        root = tempfile.mkdtemp(prefix="root-", dir=self.folder)
        os.chmod(root, 0o755)
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "home"):
            os.mkdir(f"{root}/{name}")
        shutil.copy("/bin/busybox", f"{root}/bin/busybox")
        for name in _APPLETS.split():
            os.symlink("busybox", f"{root}/bin/{name}")
        with open(f"{root}/etc/passwd", "w", encoding="ascii") as stream:
            stream.write("root:x:0:0:root:/root:/bin/sh\nsailor:x:1000:1000::/home/sailor:/bin/sh\n")
        with open(f"{root}/etc/group", "w", encoding="ascii") as stream:
            stream.write("root:x:0:\nsailor:x:1000:\ncrew:x:2000:sailor\n")
        return root

    def spec(self, *args: str, process: dict[str, Any] | None = None, **values: Any) -> ContainerSpec:
        identifier = os.urandom(32).hex()
        self.made.append(identifier)
        return ContainerSpec(
            id=identifier,
            root=values.pop("root", None) or self.root(),
            process=Process(args=args, **(process or {})),
            cgroup=f"{self.pod}/{identifier}",
            **values,
        )

    def log(self, spec: ContainerSpec) -> str:
        return f"{self.folder}/{spec.id[:12]}.log"

    def start(self, spec: ContainerSpec, **options: Any) -> str:
        self.engine.create(spec, log_path=self.log(spec), **options)
        self.engine.start(spec.id)
        return spec.id

    def said(self, *args: str, **values: Any) -> tuple[int, str]:
        """Run to the end: exit code and everything that was printed."""
        spec = self.spec(*args, **values)
        self.engine.create(spec, log_path=self.log(spec))
        with self.engine.attach(spec.id) as session:
            self.engine.start(spec.id)
            text = b""
            while (packet := session.receive()) is not None:
                text += packet[1]
        return self.ended(spec.id).code, text.decode()

    def sh(self, script: str, **values: Any) -> str:
        code, text = self.said("sh", "-c", script, **values)
        assert code == 0, text
        return text

    def ended(self, identifier: str) -> Exit:
        found = self.engine.wait(identifier, 30)
        assert found is not None
        return found

    def close(self) -> None:
        for identifier in self.made:
            self.engine.delete(identifier, force=True)
        self.engine.cgroups.remove(f"/{self.node.identity}")
        left = glob.glob(f"/sys/fs/cgroup/**/{self.node.identity}", recursive=True)
        assert not left
        with open("/proc/self/mountinfo", encoding="utf-8") as stream:
            points = [line.split()[4] for line in stream if self.folder in line.split()[4]]
        for point in points:
            kernel.umount(point, kernel.MNT_DETACH)
        shutil.rmtree(self.folder)
        assert not points
        assert os.listdir("/proc")


def _bench(runtime: str) -> Iterator[Bench]:
    bench = Bench(tempfile.mkdtemp(prefix="or-", dir="/tmp"), runtime)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture(params=runtimes(), ids=lambda path: os.path.basename(path))
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """One for each runtime that the machine has."""
    yield from _bench(request.param)


@pytest.fixture
def crun() -> Iterator[Bench]:
    """With the default runtime only: for what does not depend on it."""
    yield from _bench("crun")
