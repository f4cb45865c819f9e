"""What others say of what is built: the same Containerfiles by buildah, and podman, skopeo and umoci reading
ours."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.kit import kernel, process
from tests.build.builds import Bench, command
from tests.support import schemas
from tests.support.images import write_layout
from tests.support.node import BUSYBOX, busybox

pytestmark = pytest.mark.host

_CONTEXT = {
    "a": "one",
    "dir/b": "two",
    "dir/c.tmp": "three",
    "dir/deep/d": "four",
    ".containerignore": "**/*.tmp\n",
}
#: Names and texts; each is built by both, and tree and config are compared. What Debian's buildah cannot
#: (heredocs) or does otherwise than the language's reference (SHELL for CMD and ENTRYPOINT) is elsewhere.
CORPUS = {
    "copies": "COPY a /x/\nCOPY dir /y\nCOPY a dir/b z/\nADD dir/deep /deep/\n"
    "COPY --chown=33:33 --chmod=0600 a /own\n",
    "runs": 'ARG V=3\nENV A=1 B="x $V"\nRUN echo $A $B $V > /said\n'
    "RUN mkdir -p /p/q && chmod 1777 /p && ln -s q /p/l\n"
    "RUN rm /said && ln /bin/busybox /hard && mkfifo /fifo\n",
    "config": 'LABEL a=b c="d e"\nEXPOSE 80 443/tcp 53/udp\nVOLUME /data\nUSER 33\nWORKDIR /w/x\nWORKDIR y\n'
    'STOPSIGNAL 9\nHEALTHCHECK --interval=3s CMD true\nENTRYPOINT ["/bin/echo"]\nCMD ["a", "b"]\n',
    "shell": 'SHELL ["/bin/sh", "-xc"]\nRUN echo $- > /flags\nCMD ["a"]\n',
    "stages": "RUN echo s > /s\nFROM busybox\nCOPY --from=0 /s /t\nCOPY --from=0 /bin/sh /bin/other\n",
    "users": "RUN chown 5:6 /home && touch /home/f && chmod 4755 /home/f\nUSER www-data\nRUN id > /tmp/id\n",
    "workdir": "WORKDIR /made\nRUN pwd > p\nCOPY a .\n",
}
_COMPARED = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("Healthcheck", "OnBuild", "Shell"),
)
_STORAGE = ["--storage-driver", "overlay"]


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[list[str]]:
    """buildah with a storage of its own, busybox in it."""
    storage = ["--root", str(tmp_path / "storage"), "--runroot", str(tmp_path / "run"), *_STORAGE]
    layout = write_layout(tmp_path / "layout", {"latest": busybox()})
    argv = ["buildah", *storage]
    try:
        process.run([*argv, "pull", "--quiet", f"oci:{layout}:latest"], timeout=120)
        found = process.run([*argv, "images", "--quiet"], timeout=60).text.split()
        process.run([*argv, "tag", found[0], BUSYBOX], timeout=60)
        yield argv
    finally:
        process.run([*argv, "rm", "--all"], timeout=120, check=False)
        process.run([*argv, "rmi", "--all", "--force"], timeout=120, check=False)
        if (tmp_path / "storage" / "overlay").is_mount():
            kernel.umount(str(tmp_path / "storage" / "overlay"), kernel.MNT_DETACH)


@pytest.mark.parametrize("name", CORPUS)
def test_buildah_builds_the_same(bench: Bench, buildah: list[str], name: str) -> None:
    bench.write(_CONTEXT)
    text = f"FROM busybox\n{CORPUS[name]}"
    built = bench.make(text)
    theirs = [
        *buildah,
        "build",
        "--quiet",
        "--isolation",
        "oci",
        "--format",
        "docker",
        "-t",
        "theirs",
        str(bench.folder),
    ]
    process.run(theirs, timeout=240)
    said = json.loads(process.run([*buildah, "inspect", "--type", "image", "theirs"], timeout=60).stdout)
    assert _essence(bench.config(built)) == _essence(said["Docker"])
    container = process.run([*buildah, "from", "theirs"], timeout=60).text.strip()
    mounted = process.run([*buildah, "mount", container], timeout=60).text.strip()
    with bench.store.image_root(built.id) as root:
        ours, others = _seen(root), _seen(mounted)
    for place in ("etc/hosts", "etc/hostname", "etc/resolv.conf"):  # its RUN leaves them behind, empty
        if place not in ours and others.get(place, (0,) * 4)[3] == 0:
            others.pop(place, None)
    assert ours == others


def test_skopeo_podman_and_umoci_read_it(bench: Bench, tmp_path: Path) -> None:
    bench.write(_CONTEXT)
    built = bench.make(f"FROM busybox\n{CORPUS['copies']}{CORPUS['users']}", names=("judged",))
    layout = tmp_path / "out"
    _ours(bench, "image", "copy", "store:localhost/judged:latest", f"oci:{layout}:judged")
    said = json.loads(process.run(["skopeo", "inspect", f"oci:{layout}:judged"], timeout=60).stdout)
    assert said["Digest"] == built.digest
    config = process.run(
        ["skopeo", "inspect", "--config", "--raw", f"oci:{layout}:judged"], timeout=60
    ).stdout
    assert config == bench.store.config_bytes(built.id)
    bundle = tmp_path / "bundle"
    process.run(["umoci", "unpack", "--image", f"{layout}:judged", str(bundle)], timeout=120)
    with bench.store.image_root(built.id) as root:
        assert _seen(root) == _seen(str(bundle / "rootfs"))
    short = tempfile.mkdtemp(prefix="oj-", dir="/tmp")  # podman's --runroot has 50 characters at most
    storage = ["--root", f"{short}/p", "--runroot", f"{short}/r", *_STORAGE]
    try:
        identity = process.run(["podman", *storage, "pull", "-q", f"oci:{layout}:judged"], timeout=120).text
        assert f"sha256:{identity.strip()}" == built.id
    finally:
        process.run(["podman", *storage, "rmi", "--all", "--force"], timeout=120, check=False)
        if os.path.ismount(f"{short}/p/overlay"):
            kernel.umount(f"{short}/p/overlay", kernel.MNT_DETACH)
        shutil.rmtree(short, ignore_errors=True)


@pytest.mark.parametrize("name", ["copies", "config", "stages"])
def test_documents_are_as_the_specification_says(bench: Bench, name: str) -> None:
    bench.write(_CONTEXT)
    built = bench.make(f"FROM busybox\n{CORPUS[name]}")
    schemas.check("manifest", bench.store.manifest_bytes(built.id))
    schemas.check("config", bench.store.config_bytes(built.id))


def _ours(bench: Bench, *arguments: str) -> None:
    assert command(bench.node, *arguments, stdout=subprocess.DEVNULL).wait(120) == 0


def _essence(config: dict[str, Any]) -> dict[str, Any]:
    """What an image says about how to run it, without what each builder adds of its own."""
    run = dict(config["config"])
    run["Labels"] = {k: v for k, v in (run.get("Labels") or {}).items() if not k.startswith("io.buildah.")}
    run["Env"] = sorted(run.get("Env") or [])
    kept = {key: run[key] for key in _COMPARED if run.get(key)}
    return {"config": kept, "os": config["os"], "architecture": config["architecture"]}


def _seen(root: str) -> dict[str, tuple[object, ...]]:
    """Kind, mode, owner, size and target of everything below."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            found[os.path.relpath(path, root)] = (status.st_mode, status.st_uid, status.st_gid, size, target)
    return found
