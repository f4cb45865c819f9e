"""Mounts of containers: read-only in all parts, propagation, links as sources and on the way to a place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.kit import kernel
from orlop.kit.errors import InvalidInput
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import Container
from orlop.pod.run_sandbox import run_sandbox
from orlop.runtime.model import Mount
from tests.pod.make import pod, sleeper, started
from tests.support.images import Layer, folder, symlink, tar
from tests.support.node import BUSYBOX, busybox, opened, temporary_node

pytestmark = pytest.mark.host


def asked(pods: Pods, container: Container, script: str) -> str:
    return exec_sync(pods, container.id, ("sh", "-c", f"exec 2>&1; {script}")).stdout.decode()


def with_mounts(pods: Pods, *mounts: Mount) -> Container:
    return started(pods, sleeper(mounts=mounts), run_sandbox(pods, pod()))


@contextmanager
def mounted(path: Path, propagation: int = kernel.MS_PRIVATE) -> Iterator[Path]:
    """A tmpfs at `path`, of this propagation."""
    path.mkdir(parents=True)
    kernel.mount("t", str(path), "tmpfs")
    try:
        kernel.mount("", str(path), "", propagation)
        yield path
    finally:
        kernel.umount(str(path), kernel.MNT_DETACH)


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_recursive_read_only_reaches_the_mounts_below(runtime: str, tmp_path: Path) -> None:
    with (
        temporary_node(config=f'[runtime]\npath = "{runtime}"\n') as node,
        opened(node) as pods,
        mounted(tmp_path / "top") as top,
        mounted(top / "below") as below,
    ):
        (below / "f").touch()
        assert pods.engine.features.recursive_read_only
        container = with_mounts(
            pods,
            Mount("/plain", str(top), read_only=True),
            Mount("/deep", str(top), read_only=True, recursive_read_only=True),
        )
        assert asked(pods, container, "echo x > /plain/below/f; cat /plain/below/f") == "x\n"
        assert "Read-only" in asked(pods, container, "echo y > /plain/f")
        assert "Read-only" in asked(pods, container, "echo y > /deep/below/f")


def test_recursive_read_only_wants_a_private_read_only_mount(pods: Pods) -> None:
    made = run_sandbox(pods, pod())
    for mount in (
        Mount("/x", "/etc", recursive_read_only=True),
        Mount("/x", "/etc", read_only=True, propagation="rslave", recursive_read_only=True),
    ):
        with pytest.raises(InvalidInput, match="read-only"):
            create_container(pods, made.id, sleeper(mounts=(mount,)))


def test_new_mounts_come_through_from_the_machine_and_back_as_asked(pods: Pods, tmp_path: Path) -> None:
    with mounted(tmp_path / "top", kernel.MS_SHARED) as top:
        for name in ("host", "both"):
            (top / name).mkdir()
        container = with_mounts(
            pods,
            Mount("/slave", str(top), propagation="rslave"),
            Mount("/private", str(top)),
        )
        kernel.mount("t", str(top / "host"), "tmpfs")
        (top / "host" / "new").touch()
        try:
            assert asked(pods, container, "ls /slave/host") == "new\n"
            assert asked(pods, container, "ls /private/host") == ""
        finally:
            kernel.umount(str(top / "host"))


@pytest.mark.parametrize("propagation", ["rslave", "rshared"])
def test_propagation_from_a_private_mount_is_an_error(pods: Pods, tmp_path: Path, propagation: str) -> None:
    with mounted(tmp_path / "top") as top, pytest.raises(InvalidInput, match="private"):
        with_mounts(pods, Mount("/x", str(top), propagation=propagation))


def test_a_link_as_source_means_what_it_leads_to(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "f").touch()
    (tmp_path / "link").symlink_to("real")
    assert asked(pods, with_mounts(pods, Mount("/x", str(tmp_path / "link"))), "ls /x") == "f\n"


def test_the_machines_root_is_a_source_like_any_other(pods: Pods) -> None:
    container = with_mounts(pods, Mount("/machine", "/", read_only=True))
    assert "etc" in asked(pods, container, "ls /machine").split()
    assert "Read-only" in asked(pods, container, "touch /machine/f")


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("place", ["/way", "/way/deep", "/up/deep"])
def test_a_mount_over_a_link_of_the_image_lands_in_its_root_cve_2021_30465(
    tmp_path: Path, runtime: str, place: str
) -> None:
    outside, volume = tmp_path / "outside", tmp_path / "volume"
    outside.mkdir()
    volume.mkdir()
    (volume / "here").touch()
    above = [folder(str(path)[1:]) for path in (*reversed(outside.parents[:-1]), outside)]
    ways = tar([*above, symlink("way", str(outside)), symlink("up", "../../../../../.." + str(outside))])
    image = replace(busybox(), layers=(*busybox().layers, Layer(ways, "")))
    config = f'[runtime]\npath = "{runtime}"\n'
    with temporary_node(images={BUSYBOX: image}, config=config) as node, opened(node) as pods:
        container = with_mounts(pods, Mount(place, str(volume)))
        assert asked(pods, container, f"ls {place}") == "here\n"
    assert os.listdir(outside) == []
