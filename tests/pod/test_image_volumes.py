"""Images as volumes (KEP-4639): read-only, nothing executable, parts of them, and in use while mounted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.kit.errors import Conflict, Corrupt, InvalidInput, NotFound
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.model import Container
from orlop.pod.remove_container import remove_container
from orlop.pod.run_sandbox import run_sandbox
from orlop.runtime.model import Mount
from tests.pod.make import pod, sleeper, started
from tests.support.images import Entry, Image, Layer, folder, symlink, tar
from tests.support.node import BUSYBOX, busybox, mounts_below, opened, put_image, temporary_node

pytestmark = pytest.mark.host
FILES = "example.org/files:latest"
SECRET = "tests-of-orlop-secret"


@pytest.fixture
def node() -> Iterator[Node]:
    entries = [
        folder("data"),
        Entry("data/text", b"hello\n"),
        Entry("data/tool", b"#!/bin/sh\necho ran\n", mode=0o755),
        folder("etc"),
        Entry("etc/shadow", SECRET.encode()),
        symlink("absolute", "/etc/shadow"),
        symlink("upwards", "../../../../../../etc/shadow"),
        symlink("way", "data"),
    ]
    image = Image((Layer(tar(entries), ""),), {"Cmd": ["none"]})
    with temporary_node(images={BUSYBOX: busybox(), FILES: image}) as made:
        yield made


def with_image(pods: Pods, **changes: Any) -> Container:
    mount = Mount("/img", image=FILES, read_only=True, **changes)
    return started(pods, sleeper(mounts=(mount,)), run_sandbox(pods, pod()))


def asked(pods: Pods, container: Container, script: str) -> str:
    return exec_sync(pods, container.id, ("sh", "-c", f"exec 2>&1; {script}")).stdout.decode()


def test_it_is_read_only_and_nothing_in_it_is_executed(pods: Pods) -> None:
    container = with_image(pods)
    assert asked(pods, container, "cat /img/data/text; sh /img/data/tool") == "hello\nran\n"
    assert "Permission denied" in asked(pods, container, "/img/data/tool")
    assert "Read-only file system" in asked(pods, container, "echo > /img/data/text")


@pytest.mark.parametrize(("part", "shown"), [("data", "text"), ("way", "text"), ("data/text", "")])
def test_a_part_of_it_is_mounted(pods: Pods, part: str, shown: str) -> None:
    container = with_image(pods, sub_path=part)
    assert asked(pods, container, f"cat /img/{shown}".rstrip("/")) == "hello\n"


@pytest.mark.parametrize("part", ["absolute", "upwards"])
def test_links_in_the_image_mean_the_image_cve_2024_5154(pods: Pods, part: str) -> None:
    container = with_image(pods, sub_path=part)
    assert asked(pods, container, "cat /img") == SECRET


def test_a_part_that_is_not_there_is_an_error_and_leaves_nothing(node: Node, pods: Pods) -> None:
    made = run_sandbox(pods, pod())
    mount = Mount("/img", image=FILES, read_only=True, sub_path="data/none")
    with pytest.raises(NotFound, match="data/none"):
        create_container(pods, made.id, sleeper(mounts=(mount,)))
    with pytest.raises((InvalidInput, Corrupt), match=r"\.\."):
        create_container(
            pods, made.id, sleeper(mounts=(Mount("/img", image=FILES, read_only=True, sub_path="../x"),))
        )
    assert pods.containers() == []
    assert not [point for point in mounts_below(node) if "/volumes/" in point or "/bundles/" in point]


def test_an_image_that_is_not_there_is_named_with_the_way_to_get_it(pods: Pods) -> None:
    made = run_sandbox(pods, pod())
    with pytest.raises(NotFound, match="nowhere") as failure:
        create_container(pods, made.id, sleeper(mounts=(Mount("/img", image="example.org/nowhere"),)))
    assert "pull" in failure.value.hint


def test_it_is_in_use_until_its_last_container_is_gone(node: Node, pods: Pods) -> None:
    one, two = with_image(pods), with_image(pods)
    with pytest.raises(Conflict, match=one.id):
        pods.store.remove_image(FILES, force=True)
    assert pods.store.prune(all_images=True).images == ()
    remove_container(pods, one.id, force=True)
    assert asked(pods, two, "cat /img/data/text") == "hello\n"
    with pytest.raises(Conflict, match=two.id):
        pods.store.remove_image(FILES)
    remove_container(pods, two.id, force=True)
    assert not [point for point in mounts_below(node) if "/volumes/" in point]
    pods.store.remove_image(FILES)


def test_somebody_elses_unmount_of_the_image_does_not_take_it_away(pods: Pods) -> None:
    container = with_image(pods)
    pods.store.mount_image(FILES)
    pods.store.unmount_image(FILES)
    assert asked(pods, container, "cat /img/data/text") == "hello\n"


def test_after_a_reboot_it_is_gone_with_its_container(node: Node, pods: Pods) -> None:
    container = with_image(pods)
    os.kill(container.pid, 9)
    for point in mounts_below(node):  # as the kernel forgets them
        subprocess.run(["umount", "--lazy", point], check=False)
    pods.records.update("containers", container.id, boot="another")
    pods.records.update("sandboxes", container.sandbox_id, boot="another")
    with pods.records.database.transaction() as rows:
        rows.execute("UPDATE facts SET value = 'another' WHERE name = 'boot'")
    with opened(node) as again:
        assert again.container(container.id).reason in ("Lost", "Error")
        remove_container(again, container.id)
        again.store.remove_image(FILES)
    assert not Path(node.in_state("volumes", container.id)).exists()


def test_a_plain_image_mount_with_options_keeps_what_it_forbids(node: Node, pods: Pods) -> None:
    put_image(node, "example.org/other:latest", Image((Layer(tar([Entry("x", b"y")]), ""),), {}))
    mounts = (
        Mount("/a", image=FILES, options=("noexec",)),
        Mount("/b", image="example.org/other", sub_path="x"),
    )
    container = started(pods, sleeper(mounts=mounts), run_sandbox(pods, pod()))
    lines = [
        line for line in asked(pods, container, "cat /proc/self/mountinfo").splitlines()
        if line.split()[4] in ("/a", "/b")
    ]  # fmt: skip
    assert len(lines) == 2
    for line in lines:
        assert {"ro", "noexec", "nosuid", "nodev"} <= set(line.split()[5].split(","))
