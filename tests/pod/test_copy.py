"""Files into and out of containers, honest ones and hostile ones."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from orlop.kit.errors import Corrupt, NotFound
from orlop.pod.context import Pods
from orlop.pod.copy import copy_in, copy_out, tar_in, tar_out
from orlop.pod.exec_container import exec_sync
from orlop.pod.stop_container import stop_container
from orlop.runtime.model import Mount
from tests.pod.make import shell, sleeper, started

pytestmark = pytest.mark.host


def test_a_tree_goes_in_and_comes_out_as_it_was(pods: Pods, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_text("content")
    (source / "run").write_text("#!/bin/sh\necho ran\n")
    (source / "run").chmod(0o755)
    (source / "link").symlink_to("deep/file")
    container = started(pods, sleeper())
    copy_in(pods, container.id, str(source), "/srv")
    assert exec_sync(pods, container.id, ("sh", "-c", "/srv/run; cat /srv/link")).stdout == b"ran\ncontent"
    copy_in(pods, container.id, str(source), "/srv")  # now a folder: into it
    assert exec_sync(pods, container.id, ("cat", "/srv/tree/deep/file")).stdout == b"content"
    copy_out(pods, container.id, "/srv/.", str(tmp_path / "back"))
    assert (tmp_path / "back" / "deep" / "file").read_text() == "content"
    assert os.readlink(tmp_path / "back" / "link") == "deep/file"
    copy_out(pods, container.id, "/srv/run", str(tmp_path / "one"))
    assert os.stat(tmp_path / "one").st_mode & 0o777 == 0o755


def test_volumes_are_seen_while_it_runs_and_the_root_when_it_has_stopped(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    mount = Mount("/data", str(tmp_path / "volume"))
    container = started(pods, shell("echo r > /root/r; trap exit TERM; sleep 1000 & wait", mounts=(mount,)))
    (tmp_path / "file").write_text("x")
    copy_in(pods, container.id, str(tmp_path / "file"), "/data/")
    assert (tmp_path / "volume" / "file").read_text() == "x"
    stop_container(pods, container.id, 1)
    copy_out(pods, container.id, "/root/r", str(tmp_path / "r"))
    assert (tmp_path / "r").read_text() == "r\n"
    with pytest.raises(NotFound):
        copy_out(pods, container.id, "/nowhere", str(tmp_path / "r"))


def test_links_that_lead_out_stay_within_the_container(pods: Pods, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the machine's")
    links = f"ln -s {secret} /out; ln -s ../../../../{secret} /up"
    script = f"mkdir -p {secret}; echo own > {secret}/key; {links}"
    container = started(pods, shell(f"{script}; trap exit TERM; sleep 1000 & wait"))
    exec_sync(pods, container.id, ("sh", "-c", "while ! test -L /up; do sleep 0.05; done"))
    for path in ("/out/key", "/up/key", "/proc/1/root/out/key"):
        try:
            copy_out(pods, container.id, path, str(tmp_path / "got"))
        except Corrupt:
            continue
        assert (tmp_path / "got").read_text() == "own\n"
    (tmp_path / "evil").write_text("evil")
    copy_in(pods, container.id, str(tmp_path / "evil"), "/out")
    assert not (secret / "evil").exists()
    assert exec_sync(pods, container.id, ("cat", f"{secret}/evil")).stdout == b"evil"
    stop_container(pods, container.id, 1)
    copy_in(pods, container.id, str(tmp_path / "evil"), "/up/again")
    assert not (secret / "again").exists()


def test_links_in_a_copied_tree_are_copied_not_followed(pods: Pods, tmp_path: Path) -> None:
    container = started(
        pods, shell("mkdir /t; ln -s /etc /t/etc; ln -s / /t/root; trap exit TERM; sleep 1000 & wait")
    )
    exec_sync(pods, container.id, ("sh", "-c", "while ! test -L /t/root; do sleep 0.05; done"))
    copy_out(pods, container.id, "/t", str(tmp_path / "t"))
    assert os.readlink(tmp_path / "t" / "etc") == "/etc"


def test_archives_stream_both_ways_and_hostile_ones_are_refused(pods: Pods) -> None:
    container = started(pods, sleeper())
    first = io.BytesIO()
    with tarfile.open(fileobj=first, mode="w") as archive:
        info = tarfile.TarInfo("a/b")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"data"))
        link = tarfile.TarInfo("a/hard")
        link.type, link.linkname = tarfile.LNKTYPE, "a/b"
        archive.addfile(link)
    first.seek(0)
    tar_in(pods, container.id, "/new/place", first)
    assert exec_sync(pods, container.id, ("cat", "/new/place/a/hard")).stdout == b"data"
    back = io.BytesIO()
    tar_out(pods, container.id, "/new/place/a", back)
    back.seek(0)
    with tarfile.open(fileobj=back) as archive:
        assert sorted(archive.getnames()) == ["a", "a/b", "a/hard"]
    for name in ("../escape", "a/../../escape"):
        hostile = io.BytesIO()
        with tarfile.open(fileobj=hostile, mode="w") as archive:
            archive.addfile(tarfile.TarInfo(name))
        hostile.seek(0)
        with pytest.raises(Corrupt):
            tar_in(pods, container.id, "/new", hostile)
    with pytest.raises(Corrupt):
        tar_in(pods, container.id, "/new", io.BytesIO(b"this is no archive" * 100))
