"""Checkpoints: the archive's form where CRIU is there, and the reason where it is not."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from orlop.kit.errors import Conflict, InvalidInput, NotFound, Unsupported
from orlop.pod.checkpoint_container import checkpoint_container
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.run_sandbox import run_sandbox
from tests.pod.make import eventually, output, pod, shell, sleeper, started
from tests.support.node import opened, temporary_node

pytestmark = pytest.mark.host

#: CRIU of the machine, or one that somebody points to.
CRIU = os.environ.get("ORLOP_TEST_CRIU") or shutil.which("criu") or ""


def works() -> bool:
    return bool(CRIU) and subprocess.run([CRIU, "check"], capture_output=True, check=False).returncode == 0


def test_without_criu_the_reason_is_said_and_nothing_happens(pods: Pods, tmp_path: Path) -> None:
    container = started(pods, sleeper())
    with pytest.raises(Unsupported, match="CRIU"):  # crun of Debian 12 is built without
        checkpoint_container(pods, container.id, str(tmp_path / "a.tar"))
    assert pods.container(container.id).state == "running"
    assert os.listdir(tmp_path) == []
    config = '[runtime]\npath = "runc"\ncriu = "/nonexistent/criu"\n'
    with temporary_node(config=config) as node, opened(node) as other:
        container = started(other, sleeper())
        with pytest.raises(Unsupported, match="not installed"):
            checkpoint_container(other, container.id, str(tmp_path / "a.tar"))


def test_only_a_running_container_goes_to_a_path_that_can_be(pods: Pods, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        checkpoint_container(pods, "f" * 64, str(tmp_path / "a.tar"))
    container = create_container(pods, run_sandbox(pods, pod()).id, sleeper())
    with pytest.raises(Conflict, match="does not run"):
        checkpoint_container(pods, container.id, str(tmp_path / "a.tar"))
    (tmp_path / "link").symlink_to("/etc/passwd")
    for bad in ("a.tar", "/a/../b", f"{tmp_path}/none/a.tar", f"{tmp_path}/link", str(tmp_path)):
        with pytest.raises(InvalidInput):
            checkpoint_container(pods, container.id, bad)


@pytest.mark.skipif(not works(), reason="no CRIU that works on this kernel; see docs/configuration.md")
def test_a_container_is_archived_with_its_changes_and_goes_on(tmp_path: Path) -> None:
    config = f'[runtime]\npath = "runc"\ncriu = "{CRIU}"\n'
    script = "echo new > /new; rm /bin/yes; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
    with temporary_node(config=config) as node, opened(node) as pods:
        container = started(pods, shell(script))
        eventually(lambda: "3\n" in output(container))
        archive = tmp_path / "checkpoint.tar"
        checkpoint_container(pods, container.id, str(archive), 60)
        assert archive.stat().st_mode & 0o777 == 0o600
        with tarfile.open(archive) as found:
            names = found.getnames()
            described = json.load(_member(found, "config.dump"))
            assert json.load(_member(found, "spec.dump"))["root"]
            assert "/bin/yes" in "/" + "/".join(json.load(_member(found, "deleted.files")))
            with tarfile.open(fileobj=_member(found, "rootfs-diff.tar")) as changes:
                assert "new" in changes.getnames()
                assert not {"proc", "dev", "etc/hosts"} & set(changes.getnames())
        assert {"checkpoint/inventory.img", "dump.log", "status.dump", "container.log"} <= set(names)
        assert (described["id"], described["runtime"]) == (container.id, "runc")
        before = output(container)
        eventually(lambda: len(output(container)) > len(before))
        assert exec_sync(pods, container.id, ("cat", "/new")).stdout == b"new\n"
        assert os.listdir(node.in_root("checkpoints")) == []


def _member(archive: tarfile.TarFile, name: str) -> io.BytesIO:
    stream = archive.extractfile(name)
    assert stream is not None
    return io.BytesIO(stream.read())
