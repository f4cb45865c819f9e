"""NRI in the daemon: plugins take part in what the kubelet asks for, also after the daemon was killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from orlop.cri.proto import cri_pb2 as pb
from orlop.kit.node import Node
from tests.cri import requests as ask
from tests.cri.nri.host import Connected, connected
from tests.support.cri import Client, Daemon, daemon

pytestmark = pytest.mark.host

_ADJUST = {
    "env": [{"key": "GIVEN", "value": "by a plugin"}],
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}],
}


def _said(client: Client, container: str, *command: str) -> str:
    answer = client.ExecSync(pb.ExecSyncRequest(container_id=container, cmd=command, timeout=20))
    return str(answer.stdout.decode())


def _plugin(running: Daemon, folder: Path, index: str = "10", **config: Any) -> Connected:
    return connected(running.node.in_state("nri.sock"), folder, index=index, **config)


def test_a_plugin_adjusts_what_the_kubelet_asks_for_and_hears_of_it(
    serving: Daemon, client: Client, tmp_path: Path
) -> None:
    with _plugin(serving, tmp_path, adjust=_ADJUST) as heard:
        sandbox = ask.run(client, ask.pod("p"))
        container = ask.started(client, sandbox)
        assert _said(client, container, "sh", "-c", "echo $GIVEN; ulimit -n").split("\n")[:2] == [
            "by a plugin",
            "77",
        ]
        resources = pb.LinuxContainerResources(cpu_shares=333)
        client.UpdateContainerResources(
            pb.UpdateContainerResourcesRequest(container_id=container, linux=resources)
        )
        client.StopPodSandbox(pb.StopPodSandboxRequest(pod_sandbox_id=sandbox))
        client.RemovePodSandbox(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox))
        assert heard.events()[2:] == [
            "RunPodSandbox",
            "CreateContainer",
            "PostCreateContainer",
            "StartContainer",
            "PostStartContainer",
            "UpdateContainer",
            "PostUpdateContainer",
            "StopContainer",
            "StopPodSandbox",
            "RemoveContainer",
            "RemovePodSandbox",
        ]
        asked = heard.lines("UpdateContainer")[0]["rest"][0]
        assert asked["cpu"]["shares"]["value"] == 333


def test_a_container_that_ends_of_itself_is_told(serving: Daemon, client: Client, tmp_path: Path) -> None:
    with _plugin(serving, tmp_path) as heard:
        ask.started(client, ask.run(client), ask.box("exit 3"))
        told = heard.wait("StopContainer")["container"]
        assert (told["exit_code"], told["state"]) == (3, 4)


def test_a_pods_new_limits_are_told(serving: Daemon, client: Client, tmp_path: Path) -> None:
    with _plugin(serving, tmp_path) as heard:
        sandbox = ask.run(client)
        request = pb.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=sandbox, resources=pb.LinuxContainerResources(cpu_shares=512)
        )
        client.UpdatePodSandboxResources(request)
        _, limits = heard.wait("UpdatePodSandbox")["rest"]
        assert limits["cpu"]["shares"]["value"] == 512
        heard.wait("PostUpdatePodSandbox")


def test_a_refusal_comes_to_the_kubelet_with_its_reason(
    serving: Daemon, client: Client, tmp_path: Path
) -> None:
    sandbox = ask.run(client)
    with _plugin(serving, tmp_path, fail="CreateContainer"):
        with pytest.raises(grpc.RpcError) as refused:
            ask.create(client, sandbox, ask.box())
        assert "the test wants it to fail" in refused.value.details()
    assert ask.create(client, sandbox, ask.box()), "without the plugin it is made"


def test_a_plugin_that_comes_back_to_a_daemon_that_was_killed_is_told_of_what_is(
    serving: Daemon, client: Client, tmp_path: Path
) -> None:
    with _plugin(serving, tmp_path) as first:
        container = ask.started(client, ask.run(client))
        serving.kill()
        first.wait("Ended")
        serving.start()
    with _plugin(serving, tmp_path, index="20") as second, Client(serving.socket) as again:
        told = second.lines("Synchronize")[0]
        assert [one["id"] for one in told["all"]] == [container]
        again.StopContainer(pb.StopContainerRequest(container_id=container, timeout=5))
        assert second.events("main") == ["StopContainer"]


def test_a_daemon_without_nri_has_no_socket(node: Node) -> None:
    Path(node.config).write_text("[nri]\nenable = false\n")
    with daemon(node):
        assert not Path(node.in_state("nri.sock")).exists()


def test_settings_that_cannot_be_are_refused_with_their_key(node: Node) -> None:
    Path(node.config).write_text("[nri]\nplugin_request_timeout = 0\n")
    status, said = Daemon(node).refuses()
    assert status == 2 and "[nri] plugin_request_timeout" in said, json.dumps(said)
