"""Configurations in the records, states, names and prefixes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.kit.config import Config
from orlop.kit.errors import InvalidInput, NotFound
from orlop.kit.node import Node
from orlop.network.model import Addresses, PortMapping
from orlop.pod import codec, container, sandbox
from orlop.pod.context import Pods
from orlop.pod.merge import Merged
from orlop.pod.model import DNS, ContainerConfig, SandboxConfig
from orlop.pod.records import CREATED, EXITED, LOST, NOTREADY, READY
from orlop.runtime.model import Device, Mount, Resources, Security

POD = SandboxConfig(
    "web",
    "uid",
    ports=(PortMapping(8080, 80),),
    dns=DNS(("192.0.2.1",)),
    host_aliases=(("192.0.2.2", ("a", "b")),),
    sysctls={"net.core.somaxconn": "10"},
    resources=Resources(memory_limit=5, hugepages={"2MB": 4}),
    labels={"app": "x"},
)
CONTAINER = ContainerConfig(
    "c",
    "image",
    command=("a", "b"),
    args=(),
    env=(("A", "1"),),
    mounts=(Mount("/x", "/y", True),),
    devices=(Device("/dev/null", "/dev/n"),),
    security=Security(groups=(1, 2), masked_paths=("/z",)),
)


@given(st.dictionaries(st.text(), st.text()), st.lists(st.tuples(st.text(), st.text())))
def test_configurations_come_back_as_they_were(labels: dict[str, str], env: list[tuple[str, str]]) -> None:
    pod = replace(POD, labels=labels)
    assert codec.sandbox_config(codec.dumps(pod)) == pod
    config = replace(CONTAINER, env=tuple(env), annotations=labels)
    assert codec.container_config(codec.dumps(config)) == config


def test_addresses_and_processes_come_back_as_they_were() -> None:
    addresses = Addresses(ips=("10.0.0.1",))
    assert codec.addresses(codec.dumps(addresses)) == addresses
    process = Merged(("a",), ("A=1",), "/", "0", "SIGTERM", ("/v",))
    assert codec.process(codec.dumps(process)) == process
    assert codec.process("{}").args == ()


@pytest.fixture
def pods(tmp_path: Path) -> Pods:
    config = tmp_path / "orlop.toml"
    config.write_text("")
    node = Node(str(tmp_path / "r"), str(tmp_path / "s"), str(config))
    return Pods(node, Config.load(node))


def add(pods: Pods, identifier: str, name: str, *, namespace: str = "default", attempt: int = 0) -> None:
    config = SandboxConfig(name, f"uid-{name}", namespace=namespace, attempt=attempt)
    row = {**sandbox.row(pods, identifier, config), "state": READY}
    assert pods.records.insert("sandboxes", row)


def add_container(pods: Pods, identifier: str, sandbox_id: str, name: str) -> None:
    row = container.row(pods, identifier, sandbox_id, ContainerConfig(name, "image"), "sha256:x")
    assert pods.records.insert_container(row)
    pods.records.update("containers", identifier, state=EXITED)


def test_pods_are_found_by_name_namespace_id_and_prefix(pods: Pods) -> None:
    add(pods, "abcd" + "0" * 60, "web")
    add(pods, "abce" + "0" * 60, "web", namespace="other")
    add(pods, "1234" + "0" * 60, "db")
    assert pods.sandbox("db").id.startswith("1234")
    assert pods.sandbox("1234").config.name == "db"
    assert pods.sandbox("other/web").id.startswith("abce")
    assert pods.sandbox("abcd" + "0" * 60).config.namespace == "default"
    with pytest.raises(InvalidInput, match=r"abcd00000000 .*abce00000000"):
        pods.sandbox("web")
    with pytest.raises(NotFound):
        pods.sandbox("123")


def test_of_two_attempts_the_ready_one_bears_the_name(pods: Pods) -> None:
    add(pods, "a" * 64, "web")
    pods.records.update("sandboxes", "a" * 64, state=NOTREADY)
    add(pods, "b" * 64, "web", attempt=1)
    assert pods.sandbox("web").id == "b" * 64


def test_containers_are_found_by_pod_and_name_or_as_the_only_one(pods: Pods) -> None:
    add(pods, "a" * 64, "web")
    add_container(pods, "c" * 64, "a" * 64, "nginx")
    assert pods.container("web").id == "c" * 64
    assert pods.container("web/nginx").id == "c" * 64
    assert pods.container("cccc").config.name == "nginx"
    add_container(pods, "d" * 64, "a" * 64, "log")
    with pytest.raises(InvalidInput, match="web/nginx"):
        pods.container("web")
    with pytest.raises(NotFound):
        pods.container("web/none")


def test_no_container_comes_into_a_pod_that_is_not_ready(pods: Pods) -> None:
    add(pods, "a" * 64, "web")
    pods.records.update("sandboxes", "a" * 64, state=NOTREADY)
    row = container.row(pods, "c" * 64, "a" * 64, ContainerConfig("x", "image"), "sha256:x")
    assert not pods.records.insert_container(row)


def test_lists_are_filtered_by_labels_and_state(pods: Pods) -> None:
    row = {**sandbox.row(pods, "a" * 64, POD), "state": READY}
    assert pods.records.insert("sandboxes", row)
    add(pods, "b" * 64, "db")
    assert [s.id for s in pods.sandboxes(labels={"app": "x"})] == ["a" * 64]
    assert len(pods.sandboxes(state="ready")) == 2
    assert pods.sandboxes(state="notready") == []


def test_after_a_reboot_what_ran_is_lost_and_what_had_ended_is_as_it_was(pods: Pods) -> None:
    add(pods, "a" * 64, "web")
    add_container(pods, "c" * 64, "a" * 64, "done")
    row = container.row(pods, "d" * 64, "a" * 64, ContainerConfig("ran", "image"), "sha256:x")
    pods.records.insert_container({**row, "state": CREATED})
    pods.records.after_reboot("another boot", 5.0)
    lost = pods.records.row("containers", "d" * 64)
    assert lost is not None
    assert (lost["state"], lost["exit_code"], lost["reason"]) == (EXITED, 255, LOST)
    done = pods.records.row("containers", "c" * 64)
    assert done is not None
    assert (done["exit_code"], done["reason"]) == (0, "")
    assert pods.sandbox("web").state == "notready"


def test_the_same_identity_is_recorded_once(pods: Pods) -> None:
    add(pods, "a" * 64, "web")
    row = sandbox.row(pods, "b" * 64, SandboxConfig("web", "uid-web"))
    assert not pods.records.insert("sandboxes", row)
