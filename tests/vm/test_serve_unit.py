"""The daemon under systemd: its unit as the wheel ships it, readiness, the socket, restarts, a reboot.

Requests are made by a small client in the guest, which gives containers as the kubelet would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.vm.guest import Guest
from tests.vm.test_guest import _BUSYBOX, _start_registry, _write, orlop

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

_CLIENT = '''\
"""python client.py METHOD [JSON]: ask the daemon, print its answer as JSON."""
import sys
from google.protobuf import json_format
from orlop.cri.operate.client import Client
from orlop.cri.proto import cri_pb2 as pb
method, given = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}"
request = json_format.Parse(given, getattr(pb, method + "Request")())
with Client("/run/orlop/orlop.sock", 60.0) as client:
    print(json_format.MessageToJson(client.call(method, request)))
'''
_POD = {"metadata": {"name": "kept", "namespace": "default", "uid": "u1"}, "logDirectory": "/var/log/kept"}
_CONTAINER = {
    "metadata": {"name": "main"},
    "image": {"image": _BUSYBOX},
    "command": ["sh", "-c", "while :; do date; sleep 1; done"],
    "logPath": "main.log",
}


def ask(machine: Guest, method: str, **request: object) -> Any:
    argv = ("/opt/orlop/bin/python", "/root/client.py", method, json.dumps(request))
    return json.loads(machine.run(*argv, timeout=120).stdout)


def property_of(machine: Guest, name: str, unit: str = "orlop.service") -> str:
    return machine.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()


def main_pid(machine: Guest) -> str:
    return property_of(machine, "MainPID")


@pytest.fixture(scope="module")
def served(machine: Guest) -> Iterator[Guest]:
    """The guest with the unit enabled and started."""
    _write(machine, "/root/client.py", _CLIENT)
    machine.run("mkdir", "-p", "/etc/orlop")
    _write(machine, "/etc/orlop/orlop.toml", '[runtime]\ncgroup_manager = "systemd"\n')
    orlop(machine, "image", "pull", _BUSYBOX)
    orlop(machine, "serve", "--systemd-units", "/etc/systemd/system")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemd-analyze", "verify", "/etc/systemd/system/orlop.service")
    machine.run("systemctl", "enable", "--now", "orlop.service", timeout=120)
    yield machine
    machine.run("systemctl", "disable", "--now", "orlop.socket", "orlop.service", check=False, timeout=120)
    orlop(machine, "node", "down", "--purge")
    machine.run("rm", "-rf", "/etc/orlop", "/etc/systemd/system/orlop.service")
    machine.run("rm", "-f", "/etc/systemd/system/orlop.socket")
    machine.run("systemctl", "daemon-reload")


@pytest.fixture(scope="module")
def container(served: Guest) -> tuple[str, str]:
    """(pod, container) that the kubelet would have started."""
    sandbox = ask(served, "RunPodSandbox", config=_POD)["podSandboxId"]
    request = {"podSandboxId": sandbox, "config": _CONTAINER, "sandboxConfig": _POD}
    identifier = ask(served, "CreateContainer", **request)["containerId"]
    ask(served, "StartContainer", containerId=identifier)
    return sandbox, identifier


def pid_of(served: Guest, identifier: str) -> int:
    told = orlop(served, "inspect", identifier, "--output", "json")
    [found] = json.loads(told)
    assert found["state"] == "running"
    return int(found["pid"])


def test_started_means_that_requests_are_answered(served: Guest) -> None:
    assert property_of(served, "ActiveState") == "active"
    assert property_of(served, "StatusText") == "serving /run/orlop/orlop.sock"
    told = json.loads(orlop(served, "status", "--output", "json"))
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
    served.run("systemctl", "restart", "orlop.service", timeout=120)
    assert main_pid(served) != daemon
    assert pid_of(served, container[1]) == before
    status = ask(served, "ContainerStatus", containerId=container[1])["status"]
    assert status["state"] == "CONTAINER_RUNNING"


def test_a_killed_daemon_comes_back_and_finds_its_container(
    served: Guest, container: tuple[str, str]
) -> None:
    before, daemon = pid_of(served, container[1]), main_pid(served)
    served.run("kill", "-9", daemon)
    script = 'for i in $(seq 300); do orlop status >/dev/null 2>&1 && [ "$(systemctl show --value -p MainPID '
    script += f'orlop)" != {daemon} ] && exit; sleep 0.2; done; exit 1'
    served.run("env", "PATH=/opt/orlop/bin:/usr/bin:/bin", "sh", "-c", script, timeout=200)
    assert pid_of(served, container[1]) == before


def test_reload_reads_the_configuration(served: Guest) -> None:
    daemon = main_pid(served)
    text = '[runtime]\ncgroup_manager = "systemd"\n[serve]\nlog_level = "debug"\n'
    _write(served, "/etc/orlop/orlop.toml", text)
    served.run("systemctl", "reload", "orlop.service", timeout=60)
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
    served.run("systemctl", "stop", "orlop.service", timeout=120)
    served.run("systemctl", "enable", "--now", "orlop.socket")
    assert property_of(served, "ActiveState") == "inactive"
    assert ask(served, "Version")["runtimeName"] == "orlop"  # which starts it
    assert property_of(served, "ActiveState") == "active"
    served.run("systemctl", "restart", "orlop.service", timeout=120)
    assert served.run("stat", "-c", "%a", "/run/orlop/orlop.sock").stdout.strip() == "660"
    status = ask(served, "ContainerStatus", containerId=container[1])["status"]
    assert status["state"] == "CONTAINER_RUNNING"


def test_after_a_reboot_it_serves_and_says_what_had_ended(served: Guest, container: tuple[str, str]) -> None:
    served.reboot()
    _start_registry(served)
    served.run(
        "sh",
        "-c",
        "for i in $(seq 300); do /opt/orlop/bin/orlop status && exit; sleep 0.2; done; exit 1",
        timeout=300,
    )
    sandbox, identifier = container
    status = ask(served, "ContainerStatus", containerId=identifier)["status"]
    assert (status["state"], status["exitCode"]) == ("CONTAINER_EXITED", 255)
    assert ask(served, "PodSandboxStatus", podSandboxId=sandbox)["status"]["state"] == "SANDBOX_NOTREADY"
    told = json.loads(orlop(served, "status", "--output", "json"))
    assert (told["reboot"]["containers"], told["reboot"]["pods"]) == (1, 1)
    ask(served, "RemovePodSandbox", podSandboxId=sandbox)
    assert ask(served, "ListContainers") == {}


def test_stopped_it_leaves_nothing_of_its_own_behind(served: Guest) -> None:
    served.run("systemctl", "stop", "orlop.socket", "orlop.service", timeout=120)
    assert served.run("/opt/orlop/bin/orlop", "status", check=False).status == 6
    assert not served.run("pgrep", "-f", "orlop serve", check=False).stdout
