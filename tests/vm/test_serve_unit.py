"""The daemon under systemd: its unit as the wheel ships it, readiness, the socket, restarts, a reboot.

Requests are made by a small client in the guest, which gives containers as the kubelet would.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm.disk import PROGRAM
from tests.vm.guest import BUSYBOX, Guest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

_POD: dict[str, Any] = {
    "metadata": {"name": "kept", "namespace": "default", "uid": "u1"},
    "logDirectory": "/var/log/kept",
}
_CONTAINER = {
    "metadata": {"name": "main"},
    "image": {"image": BUSYBOX},
    "command": ["sh", "-c", "while :; do date; sleep 1; done"],
    "logPath": "main.log",
}


def ask(machine: Guest, method: str, **request: object) -> Any:
    argv = ("/opt/orlop/bin/python", "/root/client.py", method, json.dumps(request))
    return json.loads(machine.run(*argv).stdout)


def property_of(machine: Guest, name: str, unit: str = "orlop.service") -> str:
    return machine.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()


def main_pid(machine: Guest) -> str:
    return property_of(machine, "MainPID")


@pytest.fixture(scope="module")
def container(served: Guest) -> tuple[str, str]:
    """(pod, container) that the kubelet would have started."""
    sandbox = ask(served, "RunPodSandbox", config=_POD)["podSandboxId"]
    request = {"podSandboxId": sandbox, "config": _CONTAINER, "sandboxConfig": _POD}
    identifier = ask(served, "CreateContainer", **request)["containerId"]
    ask(served, "StartContainer", containerId=identifier)
    return sandbox, identifier


def pid_of(served: Guest, identifier: str) -> int:
    told = served.orlop("inspect", identifier, "--output", "json")
    [found] = json.loads(told)
    assert found["state"] == "running"
    return int(found["pid"])


def test_started_means_that_requests_are_answered(served: Guest) -> None:
    assert property_of(served, "ActiveState") == "active"
    assert property_of(served, "StatusText") == "serving /run/orlop/orlop.sock"
    told = json.loads(served.orlop("status", "--output", "json"))
    assert {c["type"]: c["ok"] for c in told["conditions"]} == {"RuntimeReady": True, "NetworkReady": True}


def test_the_unit_is_as_a_container_runtime_needs_it(served: Guest) -> None:
    wanted = {
        "Type": "notify",
        "KillMode": "process",
        "Delegate": "yes",
        "Restart": "always",
        "OOMScoreAdjust": "-999",
        "TasksMax": "infinity",
    }
    assert {name: property_of(served, name) for name in wanted} == wanted
    assert served.run("cat", f"/proc/{main_pid(served)}/oom_score_adj").stdout.strip() == "-999"


def test_containers_do_not_inherit_the_daemons_protection(served: Guest, container: tuple[str, str]) -> None:
    pid = pid_of(served, container[1])
    assert served.run("cat", f"/proc/{pid}/oom_score_adj").stdout.strip() != "-999"


def test_a_restart_leaves_the_container_alone(served: Guest, container: tuple[str, str]) -> None:
    before, daemon = pid_of(served, container[1]), main_pid(served)
    served.run("systemctl", "restart", "orlop.service")
    assert main_pid(served) != daemon
    assert pid_of(served, container[1]) == before
    status = ask(served, "ContainerStatus", containerId=container[1])["status"]
    assert status["state"] == "CONTAINER_RUNNING"


def test_a_killed_daemon_comes_back_and_finds_its_container(
    served: Guest, container: tuple[str, str]
) -> None:
    before, daemon = pid_of(served, container[1]), main_pid(served)
    served.run("kill", "-9", daemon)
    served.until(f'[ "$(systemctl show --value -p MainPID orlop)" != {daemon} ] && {PROGRAM} status')
    assert pid_of(served, container[1]) == before


def test_reload_reads_the_configuration(served: Guest) -> None:
    daemon = main_pid(served)
    text = '[runtime]\ncgroup_manager = "systemd"\n[serve]\nlog_level = "debug"\n'
    served.write("/etc/orlop/orlop.toml", text)
    served.run("systemctl", "reload", "orlop.service")
    ask(served, "Version")
    assert main_pid(served) == daemon
    served.run("sh", "-c", "journalctl -u orlop -p debug --no-pager | grep -q 'method=Version'")


def test_the_journal_has_severities_and_request_ids(served: Guest) -> None:
    failed = served.run(
        "/opt/orlop/bin/python", "/root/client.py", "RunPodSandbox", '{"config": {}}', check=False
    )
    assert failed.status
    warnings = served.run("journalctl", "-u", "orlop", "-p", "warning", "--no-pager", "-o", "cat").stdout
    [line] = [line for line in warnings.splitlines() if "method=RunPodSandbox" in line][-1:]
    assert " request=" in line
    assert " level=info " not in warnings


def test_systemds_socket_outlives_the_daemon(served: Guest, container: tuple[str, str]) -> None:
    served.run("systemctl", "stop", "orlop.service")
    served.run("systemctl", "enable", "--now", "orlop.socket")
    assert property_of(served, "ActiveState") == "inactive"
    assert ask(served, "Version")["runtimeName"] == "orlop"  # which starts it
    assert property_of(served, "ActiveState") == "active"
    served.run("systemctl", "restart", "orlop.service")
    assert served.run("stat", "-c", "%a", "/run/orlop/orlop.sock").stdout.strip() == "660"
    status = ask(served, "ContainerStatus", containerId=container[1])["status"]
    assert status["state"] == "CONTAINER_RUNNING"


def hello(served: Guest) -> str:
    """Play examples/hello as it is, and ask it."""
    served.orlop("play", "/payload/examples/hello/hello.yaml", "--wait", "300", timeout=120)
    return served.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip()


def test_the_example_runs_beside_the_kubelets_pods(served: Guest, container: tuple[str, str]) -> None:
    assert hello(served) == "Hello from Orlop"
    assert [each["id"] for each in ask(served, "ListContainers")["containers"]] == [container[1]]


def test_after_a_reboot_it_serves_and_says_what_had_ended(served: Guest, container: tuple[str, str]) -> None:
    served.reboot()
    served.until(f"{PROGRAM} status")
    sandbox, identifier = container
    status = ask(served, "ContainerStatus", containerId=identifier)["status"]
    assert status["state"] == "CONTAINER_EXITED"
    assert status["exitCode"] in (137, 143, 255)  # killed by the shutdown before the daemon's end, or after
    assert ask(served, "PodSandboxStatus", podSandboxId=sandbox)["status"]["state"] == "SANDBOX_NOTREADY"
    told = json.loads(served.orlop("status", "--output", "json"))
    assert told["reboot"]["pods"] == 2  # the example's is one
    assert told["reboot"]["containers"] <= 2  # those whose end nobody saw
    ask(served, "RemovePodSandbox", podSandboxId=sandbox)
    assert ask(served, "ListContainers") == {}


def test_after_a_reboot_pods_run_as_before(served: Guest) -> None:
    again = {**_POD, "metadata": {**_POD["metadata"], "uid": "u2"}}
    sandbox = ask(served, "RunPodSandbox", config=again)["podSandboxId"]
    request = {"podSandboxId": sandbox, "config": _CONTAINER, "sandboxConfig": again}
    identifier = ask(served, "CreateContainer", **request)["containerId"]
    ask(served, "StartContainer", containerId=identifier)
    said = ask(served, "ExecSync", containerId=identifier, cmd=["hostname"], timeout=30)
    assert said.get("exitCode", 0) == 0
    ask(served, "StopPodSandbox", podSandboxId=sandbox)
    ask(served, "RemovePodSandbox", podSandboxId=sandbox)
    assert hello(served) == "Hello from Orlop"
    served.orlop("play", "/payload/examples/hello/hello.yaml", "--down")


def test_stopped_it_leaves_nothing_of_its_own_behind(served: Guest) -> None:
    served.run("systemctl", "stop", "orlop.socket", "orlop.service")
    assert served.run(PROGRAM, "status", check=False).status == 6
    assert not served.run("pgrep", "-f", "orlop serve", check=False).stdout
