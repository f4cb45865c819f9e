"""What a container runs as: users, groups, capabilities, filters, profiles; shared processes; its log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orlop.kit.errors import Conflict, InvalidInput, NotFound, Unsupported
from orlop.kit.node import Node
from orlop.pod.context import Pods
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.hooks import Hooks
from orlop.pod.model import Container, Sandbox
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.start_container import start_container
from orlop.pod.stop_container import stop_container
from orlop.runtime.model import ContainerSpec, Hook, Security
from orlop.runtime.spec import labels
from tests.pod.make import eventually, output, pod, shell, sleeper, started
from tests.support.images import Entry, Layer, tar
from tests.support.node import BUSYBOX, busybox, mounts_below, temporary_node

pytestmark = pytest.mark.host


@pytest.fixture
def node() -> Iterator[Node]:
    users = "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n"
    files = {"etc/passwd": users.encode(), "etc/group": b"root:x:0:\nada:x:1000:\nmore:x:50000:ada\n"}
    layer = Layer(tar([Entry(name, data) for name, data in files.items()]), "")
    with temporary_node(images={BUSYBOX: replace(busybox(), layers=(*busybox().layers, layer))}) as made:
        yield made


def asked(pods: Pods, container: Container, script: str) -> str:
    return exec_sync(pods, container.id, ("sh", "-c", f"exec 2>&1; {script}")).stdout.decode()


def with_security(pods: Pods, **values: Any) -> Container:
    container = started(pods, sleeper(security=Security(**values)), run_sandbox(pods, pod()))
    # Until then it is the runtime's process, with the runtime's rights.
    eventually(lambda: b"sleep" in Path(f"/proc/{container.pid}/cmdline").read_bytes())
    return container


@pytest.mark.parametrize(
    ("values", "identity"),
    [
        ({"user": "1000", "groups": (1234,), "groups_policy": "merge"}, (1000, 1000, (1000, 1234, 50000))),
        ({"user": "1000", "groups": (1234,), "groups_policy": "strict"}, (1000, 1000, (1000, 1234))),
        ({"user": "ada:0", "groups_policy": "merge"}, (1000, 0, (0, 50000))),
        ({"user": "7:8"}, (7, 8, (8,))),
        ({}, (0, 0, (0,))),
    ],
)
def test_users_and_groups_are_recorded_as_they_are(
    pods: Pods, values: dict[str, Any], identity: tuple[int, int, tuple[int, ...]]
) -> None:
    container = pods.container(with_security(pods, **values).id)
    assert (container.uid, container.gid, container.groups) == identity
    status = Path(f"/proc/{container.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert int(fields["Uid"].split()[1]) == identity[0]
    assert int(fields["Gid"].split()[1]) == identity[1]
    assert tuple(map(int, fields["Groups"].split())) == identity[2]


def test_a_user_by_name_must_be_in_the_image(pods: Pods) -> None:
    with pytest.raises(InvalidInput, match="eve"):
        with_security(pods, user="eve")


def capabilities(container: Container) -> dict[str, int]:
    lines = Path(f"/proc/{container.pid}/status").read_text().splitlines()
    return {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


def test_without_root_nothing_is_inheritable_or_effective_cve_2022_27652(pods: Pods) -> None:
    sets = capabilities(with_security(pods, user="1000"))
    assert sets["CapInh"] == sets["CapAmb"] == sets["CapEff"] == sets["CapPrm"] == 0
    assert sets["CapBnd"] != 0


def test_an_ambient_capability_is_kept_without_root(pods: Pods) -> None:
    sets = capabilities(with_security(pods, user="1000", ambient_capabilities=("net_bind_service",)))
    assert sets["CapAmb"] == sets["CapEff"] == sets["CapPrm"] == 1 << 10


def test_names_of_capabilities_are_read_with_and_without_cap(pods: Pods) -> None:
    adding = ("CAP_NET_RAW", "sys_chroot")
    sets = capabilities(with_security(pods, add_capabilities=adding, drop_capabilities=("ALL",)))
    assert sets["CapEff"] == 1 << 13 | 1 << 18


def test_no_new_privileges_holds(pods: Pods) -> None:
    container = with_security(pods, no_new_privileges=True)
    assert "NoNewPrivs:\t1" in Path(f"/proc/{container.pid}/status").read_text()


def test_a_seccomp_profile_of_the_machine_is_applied(pods: Pods, tmp_path: Path) -> None:
    profile = tmp_path / "profile.json"
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    container = with_security(pods, seccomp=str(profile))
    assert "Operation not permitted" in asked(pods, container, "mkdir /x")
    assert asked(
        pods, with_security(pods, seccomp="unconfined"), "mkdir /x; grep Seccomp: /proc/1/status"
    ) == ("Seccomp:\t0\n")
    assert "Seccomp:\t2" in asked(pods, with_security(pods), "grep Seccomp: /proc/1/status")
    with pytest.raises(NotFound, match="absent"):
        with_security(pods, seccomp=str(tmp_path / "absent.json"))


def test_a_profile_of_apparmor_is_a_promise(pods: Pods) -> None:
    kind = NotFound if labels.has_apparmor() else Unsupported
    with pytest.raises(kind, match="AppArmor"):
        with_security(pods, apparmor="no-such-profile")
    assert with_security(pods, apparmor="no-such-profile", privileged=True).pid  # not applied there


def test_a_label_is_passed_over_without_selinux(pods: Pods) -> None:
    if os.path.exists("/sys/fs/selinux/enforce"):
        pytest.skip("this kernel has SELinux")
    assert with_security(pods, selinux="u:r:t:s0").pid


class _Adding(Hooks):
    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def create_container(self, sandbox: Sandbox, container: Container, spec: ContainerSpec) -> ContainerSpec:
        return ContainerSpec(**{**vars(spec), "hooks": (self._hook,)})


def test_a_hook_is_run_by_the_runtime_at_its_stage(pods: Pods, tmp_path: Path) -> None:
    script = f"cat > {tmp_path}/state; echo $WHO > {tmp_path}/who"
    pods.hooks = _Adding(Hook("createRuntime", "/bin/sh", ("sh", "-c", script), ("WHO=me",), 10))
    container = create_container(pods, run_sandbox(pods, pod()).id, sleeper())
    assert json.loads((tmp_path / "state").read_text())["id"] == container.id
    assert (tmp_path / "who").read_text() == "me\n"


def test_the_processes_of_another_container_of_the_pod_are_shared(node: Node, pods: Pods) -> None:
    made = run_sandbox(pods, pod())
    target = started(pods, sleeper("target"), made)
    second = create_container(pods, made.id, sleeper("debugger", pid_target=target.id))
    debugger = start_container(pods, second.id)
    kinds = [os.readlink(f"/proc/{pid}/ns/pid") for pid in (target.pid, debugger.pid)]
    assert kinds[0] == kinds[1]
    assert "trap" in asked(pods, debugger, "cat /proc/1/cmdline")
    assert not [point for point in mounts_below(node) if "/pid-" in point]


def test_only_a_container_of_the_pod_that_runs_is_a_target(pods: Pods) -> None:
    made, other = run_sandbox(pods, pod()), run_sandbox(pods, pod())
    stranger = started(pods, sleeper("stranger"), other)
    ended = started(pods, sleeper("ended"), made)
    stop_container(pods, ended.id, 0)
    for target, kind, words in (
        (stranger.id, InvalidInput, "another pod"),
        (ended.id, Conflict, "has ended"),
        ("ab" * 32, NotFound, "no such"),
    ):
        with pytest.raises(kind, match=words):
            create_container(pods, made.id, sleeper("debugger", pid_target=target))


def test_a_log_lies_below_the_pods_directory(pods: Pods, tmp_path: Path) -> None:
    made = run_sandbox(pods, pod(log_directory=str(tmp_path / "logs")))
    container = started(pods, shell("echo said", log_path="main/0.log"), made)
    assert container.log_path == f"{tmp_path}/logs/main/0.log"
    eventually(lambda: output(container) == "said\n")


def test_a_relative_log_without_a_directory_is_at_the_nodes_own_place(pods: Pods) -> None:
    container = started(pods, sleeper(log_path="main.log"), run_sandbox(pods, pod()))
    assert container.log_path == pods.own_log(container.id)


def test_a_log_leaves_its_directory_by_no_way_cve_2025_0750(pods: Pods, tmp_path: Path) -> None:
    logs, outside = tmp_path / "logs", tmp_path / "outside"
    logs.mkdir()
    outside.mkdir()
    (outside / "precious").write_text("kept")
    (logs / "way").symlink_to(outside)
    (logs / "link.log").symlink_to(outside / "precious")
    os.mkfifo(logs / "fifo.log")
    made = run_sandbox(pods, pod(log_directory=str(logs)))
    for path in ("../outside/precious", "way/precious", "link.log", "fifo.log", "way/new/0.log"):
        with pytest.raises(InvalidInput, match="log"):
            create_container(pods, made.id, sleeper(log_path=path))
    assert (outside / "precious").read_text() == "kept"
    assert os.listdir(outside) == ["precious"]
    assert pods.containers() == []
