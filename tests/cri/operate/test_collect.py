"""What interrupted work left is finished at start and while the daemon runs, beside requests and cheaply."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.cri.operate.collect import Collector
from orlop.cri.operate.report import Word
from orlop.cri.proto import cri_pb2 as pb
from orlop.kit import limits
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.pod import exec_leftovers
from orlop.pod.context import Pods, new_id
from tests.cri.operate.test_signals import sandbox_request, until
from tests.support.cri import Client, daemon
from tests.support.node import BUSYBOX, opened, temporary_node

pytestmark = pytest.mark.host

_PLUGIN = """#!/bin/sh
# the bridge of Debian, whose DEL fails, and hangs, as told
if [ "$CNI_COMMAND" = DEL ] && [ -e "{switch}" ]; then sleep "$(cat "{switch}")"; exit 1; fi
exec /usr/lib/cni/bridge
"""


def word(node: Node) -> dict[str, Any]:
    path = Path(node.in_state("serve.json"))
    return dict(json.loads(path.read_text())) if path.exists() else {}


def leave_garbage(node: Node) -> str:
    """What a daemon that was killed in the middle leaves; returns an ID that has a record no more."""
    identifier = new_id()
    os.makedirs(node.in_state("bundles", identifier))
    os.makedirs(node.in_root("logs", identifier))
    os.makedirs(node.in_root("tmp", "dead"))
    with opened(node) as pods:
        pods.store.create_rootfs(identifier, pods.store.image(BUSYBOX).id)
        pods.store.mount_rootfs(identifier)
    return identifier


def gone(node: Node, identifier: str) -> bool:
    places = [node.in_state("bundles", identifier), node.in_state("mounts", identifier)]
    places += [
        node.in_root("logs", identifier),
        node.in_root("rootfs", identifier),
        node.in_root("tmp", "dead"),
    ]
    return not any(map(os.path.lexists, places))


def test_garbage_is_collected_at_start_and_said(node: Node) -> None:
    identifier = leave_garbage(node)
    with daemon(node) as running:
        until(lambda: "recovery" in word(node))
        assert gone(node, identifier)
        assert word(node)["recovery"]["orphans"] == 1
        assert "recovery: finished what was interrupted" in running.said()


def test_garbage_that_comes_later_is_collected_while_it_runs() -> None:
    config = "[serve]\ncollect_interval = 0.2\n"
    with temporary_node(config=config) as node, daemon(node) as running, Client(running.socket) as client:
        kept = client.RunPodSandbox(sandbox_request("kept")).pod_sandbox_id
        until(lambda: "recovery" in word(node))
        identifier = leave_garbage(node)
        until(lambda: gone(node, identifier))
        until(lambda: "collection" in word(node))
        status = client.PodSandboxStatus(pb.PodSandboxStatusRequest(pod_sandbox_id=kept)).status
        assert status.state == pb.SANDBOX_READY
        assert len(client.ListImages(pb.ListImagesRequest()).images) == 1
        client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=kept))


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(a configuration that names them, the file that makes DEL fail after so many seconds)."""
    folder, switch = tmp_path / "cni", tmp_path / "switch"
    folder.mkdir()
    (folder / "stuck").write_text(_PLUGIN.format(switch=switch))
    (folder / "stuck").chmod(0o755)
    bridge = f"oct{os.getpid() % 100000}"
    network = {
        "cniVersion": "1.0.0",
        "name": "stuck",
        "plugins": [
            {
                "type": "stuck",
                "bridge": bridge,
                "ipam": {"type": "host-local", "subnet": "10.98.7.0/24", "dataDir": str(tmp_path / "leases")},
            }
        ],
    }
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d" / "1.conflist").write_text(json.dumps(network))
    dirs = json.dumps([str(folder), "/usr/lib/cni"])
    try:
        yield f'[network]\nconfig_dir = "{tmp_path}/net.d"\nplugin_dirs = {dirs}\n', switch
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)


def test_a_pod_whose_network_fails_to_let_go_ends_and_the_network_is_asked_again(
    plugins: tuple[str, Path],
) -> None:
    config, switch = plugins
    text = config + "\n[serve]\ncollect_interval = 0.5\n"
    with temporary_node(config=text) as node, daemon(node) as running, Client(running.socket) as client:
        request = sandbox_request("stuck")
        request.config.linux.security_context.namespace_options.network = pb.POD
        identifier = client.RunPodSandbox(request).pod_sandbox_id
        switch.write_text("0")
        client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=identifier))
        client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=identifier))
        attachments = node.in_root("network", "attachments")
        assert os.listdir(attachments)
        switch.unlink()
        until(lambda: not os.listdir(attachments), 60)


def test_a_network_that_hangs_does_not_hold_the_start_or_the_end_up(plugins: tuple[str, Path]) -> None:
    config, switch = plugins
    with temporary_node(config=config) as node:
        with daemon(node) as running, Client(running.socket) as client:
            request = sandbox_request("stuck")
            request.config.linux.security_context.namespace_options.network = pb.POD
            identifier = client.RunPodSandbox(request).pod_sandbox_id
            switch.write_text("0")
            client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=identifier))
            until(lambda: "recovery" in word(node))
            running.stop()
            switch.write_text("12")
            begun = time.monotonic()
            running.start()
            assert client.ListPodSandbox(pb.ListPodSandboxRequest()).items == []
            running.stop()
            assert time.monotonic() - begun < 12, "it waited for the network"
        switch.unlink()


def test_a_look_where_nothing_has_happened_does_nothing(node: Node) -> None:
    async def story() -> list[bool]:
        pods = Pods(node, Config.load(node))
        collector = Collector(pods, Word(node), lambda: 0, None)
        looked: list[bool] = []
        collect = collector._collect
        collector._collect = lambda: looked.append(True) or collect()  # type: ignore[method-assign,func-returns-value]
        await collector.once("recovery")
        await collector.once("collection")
        await collector.once("collection")
        before = len(looked)
        os.makedirs(node.in_root("tmp", "new"))
        await collector.once("collection")
        pods.close()
        return [before <= 2, len(looked) == before + 1]

    assert asyncio.run(story()) == [True, True]
    assert not os.path.exists(node.in_root("tmp", "new"))


def test_files_of_execs_that_were_cut_off_go_and_those_at_work_stay(node: Node) -> None:
    with opened(node) as pods:
        bundle = Path(node.in_state("bundles", new_id()))
        bundle.mkdir(parents=True)
        (bundle / "exec-dead.pid").write_text("0")
        (bundle / "exec-alive.pid").write_text(str(os.getpid()))
        (bundle / "exec-young.pid").write_text("")
        (bundle / "pid").write_text("0")
        for name in ("exec-dead.pid", "exec-alive.pid", "pid"):
            os.utime(bundle / name, (1, 1))
        assert exec_leftovers.remove(pods) == (1, True)
        assert sorted(path.name for path in bundle.iterdir()) == ["exec-alive.pid", "exec-young.pid", "pid"]


def test_layers_of_a_pull_that_was_given_up_go_after_an_hour_and_images_stay(node: Node) -> None:
    with opened(node) as pods:
        store = pods.store
        image = store.image(BUSYBOX)
        with store._database.transaction() as rows:  # as a pull leaves it that died before its image
            rows.execute("DELETE FROM images WHERE id = ?", (image.id,))
        assert (store.collect().layers, store.collect().again) == (0, True)
        layers = [Path(entry.path) for entry in os.scandir(store.layout.layers)]
        for path in layers:
            os.utime(path, (0, time.time() - 2 * limits.COLLECT_LAYER_AGE))
        with store._database.transaction() as rows:
            rows.execute("UPDATE blobs SET added = added - ?", (2 * limits.COLLECT_LAYER_AGE,))
        with store.lease():  # somebody pulls, and has not asked for these
            found = store.collect()
        assert (found.layers, found.again) == (len(layers), False)
        assert not any(path.exists() for path in layers)
