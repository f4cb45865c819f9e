"""NRI with a real plugin, made of containerd/nri's own stub: registration, events, adjustments, failures."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orlop.cri.nri.errors import PluginFailed, PluginRefused, PluginsClash
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node
from orlop.pod.create_container import create_container
from orlop.pod.exec_container import exec_sync
from orlop.pod.remove_container import remove_container
from orlop.pod.remove_sandbox import remove_sandbox
from orlop.pod.run_sandbox import run_sandbox
from orlop.pod.stop_container import stop_container
from orlop.pod.stop_sandbox import stop_sandbox
from orlop.pod.update_container import update_container
from orlop.runtime.model import Resources
from tests.cri.nri.host import Log, Runtime, members, plugin, program
from tests.cri.nri.host import runtime as running
from tests.pod.make import eventually, pod, sleeper, started

pytestmark = pytest.mark.host

_LIFE = [
    "CreateContainer",
    "PostCreateContainer",
    "StartContainer",
    "PostStartContainer",
    "UpdateContainer",
    "PostUpdateContainer",
    "StopContainer",
    "RemoveContainer",
]


def _said(runtime: Runtime, container_id: str, script: str) -> str:
    return exec_sync(runtime.pods, container_id, ("sh", "-c", script)).stdout.decode().strip()


def test_a_plugin_hears_of_everything_in_order(runtime: Runtime) -> None:
    with plugin(runtime) as heard:
        pods = runtime.pods
        sandbox = run_sandbox(pods, pod("p", labels={"l": "1"}, annotations={"a": "2"}))
        container = started(pods, sleeper(labels={"m": "3"}), sandbox)
        update_container(pods, container.id, Resources(cpu_limit=500))
        stop_container(pods, container.id)
        remove_container(pods, container.id)
        stop_sandbox(pods, sandbox.id)
        remove_sandbox(pods, sandbox.id)
        assert heard.events() == [
            "Configure",
            "Synchronize",
            "RunPodSandbox",
            *_LIFE,
            "StopPodSandbox",
            "RemovePodSandbox",
        ]
        assert heard.lines("Configure")[0]["runtime"] == "orlop"
        shown = heard.lines("RunPodSandbox")[0]["pod"]
        assert (shown["id"], shown["name"], shown["labels"], shown["annotations"]) == (
            sandbox.id,
            "p",
            {"l": "1"},
            {"a": "2"},
        )
        made = heard.lines("CreateContainer")[0]["container"]
        assert made["id"] == container.id and made["pod_sandbox_id"] == sandbox.id
        assert made["args"][:2] == ["sh", "-c"] and made["labels"] == {"m": "3"}
        assert any(entry.startswith("PATH=") for entry in made["env"])
        assert {"/proc", "/etc/hosts"} <= {mount["destination"] for mount in made["mounts"]}
        assert heard.lines("PostStartContainer")[0]["container"]["pid"] == container.pid
        assert heard.lines("StopContainer")[0]["container"]["exit_code"] != 0


def test_what_a_plugin_wants_is_inside_the_container(runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("hello")
    trace = tmp_path / "hook"
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\necho ran $1 > {trace}\n")
    hook.chmod(0o755)
    adjust = {
        "annotations": {"plugin/said": "yes"},
        "env": [{"key": "GIVEN", "value": "by plugin"}, {"key": "-TAKEN"}],
        "mounts": [
            {
                "destination": "/given",
                "source": str(tmp_path / "given"),
                "type": "bind",
                "options": ["rbind", "ro"],
            },
            {"destination": "/scratch", "source": "tmpfs", "type": "tmpfs", "options": ["size=1m"]},
            {"destination": "-/dev/mqueue"},
        ],
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 123, "hard": 200}],
        "hooks": {"create_runtime": [{"path": str(hook), "args": ["hook.sh", "once"]}]},
        "linux": {
            "devices": [
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "file_mode": {"value": 0o666}}
            ],
            "oom_score_adj": {"value": 321},
            "resources": {"memory": {"limit": {"value": 64 << 20}}, "pids": {"limit": 99}},
        },
    }
    with plugin(runtime, adjust=adjust):
        container = started(runtime.pods, sleeper(env=(("TAKEN", "1"), ("KEPT", "2"))))
    said = _said(
        runtime, container.id, "env; cat /given/file; echo; ulimit -n; touch /given/x || echo read-only"
    )
    assert "GIVEN=by plugin" in said and "KEPT=2" in said and "TAKEN" not in said
    assert "hello" in said and "123" in said and "read-only" in said
    mounts = _said(runtime, container.id, "cat /proc/mounts")
    assert " /scratch tmpfs " in mounts and "/dev/mqueue" not in mounts
    assert _said(runtime, container.id, "stat -c '%t:%T' /dev/fuse") == "a:e5"
    assert trace.read_text() == "ran once\n"
    assert Path(f"/proc/{container.pid}/oom_score_adj").read_text().strip() == "321"
    config = runtime.pods.engine.config_of(container.id)
    assert config["annotations"]["plugin/said"] == "yes"  # type: ignore[index]
    resources = config["linux"]["resources"]  # type: ignore[index]
    assert resources["memory"]["limit"] == 64 << 20 and resources["pids"]["limit"] == 99


def test_what_the_runtime_and_the_kernel_enforce_is_what_a_plugin_wants(runtime: Runtime) -> None:
    pods = runtime.pods
    sandbox = run_sandbox(pods, pod())
    cgroup = f"{pods.cgroup(sandbox.id)}/chosen"
    adjust = {
        "args": ["sh", "-c", "trap 'exit 9' TERM; while :; do sleep 1000 & wait $!; done"],
        "linux": {
            "cgroups_path": cgroup,
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "777"},
            "seccomp_policy": {
                "default_action": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errno_ret": {"value": 95}}
                ],
            },
            "io_priority": {"class": 2, "priority": 3},
        },
    }
    with plugin(runtime, adjust=adjust):
        container = started(pods, sleeper(), sandbox)
        assert cgroup in Path(f"/proc/{container.pid}/cgroup").read_text()
        said = _said(
            runtime, container.id, "mkdir /x 2>&1; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        )
        assert "Operation not supported" in said and said.endswith("777")
        process = pods.engine.config_of(container.id)["process"]
        assert process["ioPriority"] == {"class": "IOPRIO_CLASS_BE", "priority": 3}  # type: ignore[index]
        assert pods.engine.stats(container.id).memory > 0
        stop_container(pods, container.id)
        assert pods.container(container.id).exit_code == 9


def test_plugins_are_asked_by_their_index_and_each_sees_what_those_before_did(runtime: Runtime) -> None:
    with (
        plugin(runtime, "late", "90", adjust={"env": [{"key": "B", "value": "2"}]}) as late,
        plugin(runtime, "early", "10", adjust={"env": [{"key": "A", "value": "1"}]}) as early,
    ):
        assert members(runtime) == ["10-early", "90-late"]
        started(runtime.pods, sleeper())
        assert "A=1" not in early.lines("CreateContainer")[0]["container"]["env"]
        assert "A=1" in late.lines("CreateContainer")[0]["container"]["env"]


def test_two_plugins_that_set_the_same_fail_the_creation_and_nothing_is_left(runtime: Runtime) -> None:
    with (
        plugin(runtime, "one", "10", adjust={"env": [{"key": "A", "value": "1"}]}),
        plugin(runtime, "two", "20", adjust={"env": [{"key": "A", "value": "2"}]}) as two,
    ):
        sandbox = run_sandbox(runtime.pods, pod())
        with pytest.raises(PluginsClash, match="20-two and 10-one both set Env A"):
            create_container(runtime.pods, sandbox.id, sleeper())
        assert runtime.pods.containers(sandbox.id) == []
        assert two.events("main") == ["CreateContainer", "StopContainer", "RemoveContainer"]


def test_a_plugin_that_says_no_fails_the_request(runtime: Runtime) -> None:
    with plugin(runtime, fail="CreateContainer"):
        sandbox = run_sandbox(runtime.pods, pod())
        with pytest.raises(PluginRefused, match="the test wants it to fail"):
            create_container(runtime.pods, sandbox.id, sleeper())
        assert members(runtime) == ["10-tester"]


def test_a_pod_that_a_plugin_refuses_is_undone(runtime: Runtime) -> None:
    with plugin(runtime, fail="RunPodSandbox") as heard:
        with pytest.raises(PluginRefused):
            run_sandbox(runtime.pods, pod())
        assert runtime.pods.sandboxes() == []
        assert heard.events()[2:] == ["RunPodSandbox", "StopPodSandbox", "RemovePodSandbox"]


def test_a_failure_after_the_deed_changes_nothing(runtime: Runtime) -> None:
    with plugin(runtime, fail="PostStartContainer"):
        assert started(runtime.pods, sleeper()).state == "running"


def test_a_slow_plugin_is_disconnected_and_the_request_goes_on(hasty: Runtime) -> None:
    with plugin(hasty, hang="CreateContainer") as slow:
        container = started(hasty.pods, sleeper())
        assert container.state == "running"
        assert members(hasty) == []
        slow.wait("Ended")


def test_a_slow_plugin_can_ask_to_be_waited_for_and_to_stay(hasty: Runtime) -> None:
    with plugin(hasty, hang="CreateContainer", fail_request=True, keep_connected=True):
        sandbox = run_sandbox(hasty.pods, pod())
        with pytest.raises(PluginFailed, match="CreateContainer"):
            create_container(hasty.pods, sandbox.id, sleeper())
        assert members(hasty) == ["10-tester"]


def test_a_plugin_killed_in_the_middle_of_a_request_hurts_nobody(runtime: Runtime) -> None:
    with plugin(runtime, hang="StartContainer") as victim:
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda: outcome.append(started(runtime.pods, sleeper())))
        thread.start()
        victim.wait("StartContainer")
        victim.kill()
        thread.join()
        assert outcome[0].state == "running"
        assert members(runtime) == []
    with plugin(runtime, "next", "11") as heard:
        assert heard.lines("Synchronize")[0]["containers"] == ["main"]


def test_a_plugin_changes_another_container_with_its_answer(runtime: Runtime) -> None:
    shares = {"linux": {"resources": {"cpu": {"shares": {"value": 321}}}}}
    updates = {"CreateContainer": [{"container_id": "@first", **shares}]}
    with plugin(runtime, only="second", updates=updates) as heard:
        first = started(runtime.pods, sleeper("first"))
        started(runtime.pods, sleeper("second"))
        assert runtime.pods.container(first.id).config.resources.cpu_shares == 321
        assert "UpdateContainer" not in heard.events("first"), "a plugin is not told of its own wishes"


def test_a_plugin_changes_the_update_that_is_asked_for(runtime: Runtime) -> None:
    wanted = {"linux": {"resources": {"cpu": {"shares": {"value": 777}}}}}
    with plugin(runtime, updates={"UpdateContainer": [{"container_id": "@main", **wanted}]}) as heard:
        container = started(runtime.pods, sleeper())
        update_container(runtime.pods, container.id, Resources(memory_limit=64 << 20))
        asked = heard.lines("UpdateContainer")[0]["rest"][0]
        assert asked["memory"]["limit"]["value"] == 64 << 20
        now = runtime.pods.container(container.id).config.resources
        assert (now.memory_limit, now.cpu_shares) == (64 << 20, 777)


def test_a_plugin_updates_containers_of_its_own_accord(runtime: Runtime) -> None:
    wanted = {"container_id": "@main", "linux": {"resources": {"cpu": {"shares": {"value": 555}}}}}
    unknown = {"container_id": "ab" * 32, "linux": wanted["linux"]}
    with plugin(runtime, unsolicited={"PostStartContainer": [wanted, unknown]}) as heard:
        container = started(runtime.pods, sleeper())
        assert heard.wait("Updated") == {"event": "Updated", "failed": 1}
        assert runtime.pods.container(container.id).config.resources.cpu_shares == 555


def test_two_stops_whose_plugin_changes_the_other_container_do_not_wait_for_each_other(
    runtime: Runtime,
) -> None:
    shares = {"linux": {"resources": {"cpu": {"shares": {"value": 500}}}}, "ignore_failure": True}
    updates = {"StopContainer": [{"container_id": "@a", **shares}, {"container_id": "@b", **shares}]}
    with plugin(runtime, updates=updates):
        both = [started(runtime.pods, sleeper(name)) for name in "ab"]
        threads = [threading.Thread(target=stop_container, args=(runtime.pods, one.id)) for one in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [runtime.pods.container(one.id).state for one in both] == ["exited", "exited"]


def test_a_plugin_that_joins_is_told_of_all_that_is_and_may_change_it(runtime: Runtime) -> None:
    container = started(runtime.pods, sleeper("there"))
    wanted = {"container_id": "@there", "linux": {"resources": {"cpu": {"shares": {"value": 444}}}}}
    with plugin(runtime, updates={"Synchronize": [wanted]}) as heard:
        told = heard.lines("Synchronize")[0]
        assert (told["pods"], told["containers"]) == (1, ["there"])
        assert told["all"][0]["args"][0] == "sh"
        eventually(lambda: runtime.pods.container(container.id).config.resources.cpu_shares == 444)


def test_a_container_that_is_being_made_while_a_plugin_joins_is_not_missed(hasty: Runtime) -> None:
    with plugin(hasty, "slow", "10", hang="CreateContainer", only="main"):
        sandbox = run_sandbox(hasty.pods, pod())
        thread = threading.Thread(target=create_container, args=(hasty.pods, sandbox.id, sleeper()))
        thread.start()
        with plugin(hasty, "joiner", "20") as joiner:
            thread.join()
            heard = joiner.lines("Synchronize")[0]["containers"] + joiner.events("main")
            assert heard[0] in ("main", "CreateContainer")


def test_a_validator_sees_who_wants_what_and_may_reject_it(runtime: Runtime) -> None:
    adjust = {"env": [{"key": "A", "value": "1"}]}
    with (
        plugin(runtime, "adjuster", "10", adjust=adjust),
        plugin(runtime, "judge", "50", reject="A is not for everybody") as judge,
    ):
        sandbox = run_sandbox(runtime.pods, pod())
        with pytest.raises(PluginRefused, match="A is not for everybody"):
            create_container(runtime.pods, sandbox.id, sleeper())
        asked = judge.lines("ValidateContainerAdjustment")[0]
        (owners,) = asked["owners"]["owners"].values()
        assert list(owners["compound"].values()) == [{"owners": {"A": "10-adjuster"}}]
        assert [one["name"] for one in asked["plugins"]] == ["adjuster", "judge"]


def test_the_built_in_validator_forbids_hooks_and_requires_plugins(node: Node, tmp_path: Path) -> None:
    adjust = {"hooks": {"poststop": [{"path": "/bin/true"}]}}
    with (
        running(node, tmp_path, validate=True, reject_hooks=True) as runtime,
        plugin(runtime, adjust=adjust, only="hooked"),
    ):
        sandbox = run_sandbox(runtime.pods, pod())
        with pytest.raises(PluginRefused, match="10-tester may not change OCI hooks"):
            create_container(runtime.pods, sandbox.id, sleeper("hooked"))
        wanting = run_sandbox(
            runtime.pods, pod(annotations={"required-plugins.noderesource.dev": "[absent]"})
        )
        with pytest.raises(OrlopError, match="absent"):
            create_container(runtime.pods, wanting.id, sleeper())


def test_an_installed_plugin_is_started_configured_and_ended(node: Node, tmp_path: Path) -> None:
    for name in ("plugins", "conf.d"):
        (tmp_path / name).mkdir()
    log = Log(tmp_path / "log")
    shutil.copy(program(), tmp_path / "plugins" / "07-mine")
    (tmp_path / "plugins" / "no-index").write_text("#!/bin/sh\n")
    (tmp_path / "plugins" / "no-index").chmod(0o755)
    (tmp_path / "plugins" / "08-broken").write_text("#!/bin/false\n")
    (tmp_path / "plugins" / "08-broken").chmod(0o755)
    config = json.dumps({"log": str(log.path)})
    (tmp_path / "conf.d" / "mine.conf").write_text(config)
    with running(node, tmp_path, disable_connections=True, plugin_registration_timeout=2.0) as runtime:
        assert members(runtime) == ["07-mine"]
        assert not os.path.exists(runtime.socket)
        told = log.lines("Configure")[0]
        assert told["env"] == ["mine", "07"] and told["config"] == config
        started(runtime.pods, sleeper())
        assert "CreateContainer" in log.events("main")
        pid = told["pid"]
        assert os.path.exists(f"/proc/{pid}")
    assert log.events()[-1] in ("Shutdown", "Ended")
    assert "Shutdown" in log.events()
    assert not os.path.exists(f"/proc/{pid}")


def test_a_new_daemon_tells_installed_plugins_of_what_the_old_one_left(node: Node, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "conf.d").mkdir()
    shutil.copy(program(), tmp_path / "plugins" / "07-mine")
    log = Log(tmp_path / "log")
    (tmp_path / "conf.d" / "07-mine.conf").write_text(json.dumps({"log": str(log.path)}))
    with running(node, tmp_path) as runtime:
        container = started(runtime.pods, sleeper("left"))
    with running(node, tmp_path) as runtime:
        assert [line["containers"] for line in log.lines("Synchronize")] == [[], ["left"]]
        stop_container(runtime.pods, container.id)
        assert log.events("left")[-1] == "StopContainer"


def test_an_end_that_nobody_asked_for_is_told_once(runtime: Runtime) -> None:
    with plugin(runtime) as heard:
        container = started(runtime.pods, sleeper())
        os.kill(container.pid, 9)
        runtime.pods.engine.wait(container.id, 10)
        runtime.pods.container(container.id)
        runtime.pods.tell("ended_container", container.sandbox_id, container.id)
        heard.wait("StopContainer")
        stop_container(runtime.pods, container.id)
        assert heard.events("main").count("StopContainer") == 1


def test_a_second_daemon_leaves_the_socket_to_the_first(node: Node, runtime: Runtime, tmp_path: Path) -> None:
    with running(node, tmp_path / "other", socket_path=runtime.socket):
        pass
    with plugin(runtime):
        assert members(runtime) == ["10-tester"]


def test_a_name_that_is_none_is_refused(runtime: Runtime) -> None:
    with plugin(runtime, "spaced name", "10", wait=False) as refused:
        assert refused.process.wait(20) == 1
    with plugin(runtime, "fine", "1", wait=False) as refused:
        assert refused.process.wait(20) == 1
    assert members(runtime) == []


def test_without_plugins_an_event_costs_less_than_reading_one_record(runtime: Runtime) -> None:
    container = started(runtime.pods, sleeper())

    def seconds(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        for _ in range(1000):
            work()
        return time.perf_counter() - begin

    about = container.sandbox_id, container.id
    telling = seconds(lambda: runtime.pods.tell("start_container", *about))
    assert telling < seconds(lambda: runtime.pods.records.row("sandboxes", container.sandbox_id))
