"""Orlop in a stock Debian guest: the wheel alone, systemd as PID 1, pure cgroup v2, and a real reboot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm.disk import PROGRAM
from tests.vm.guest import BUSYBOX, Guest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(3600)]

_POD = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: httpd
      image: {BUSYBOX}
      command: [sh, -c, "mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
      ports: [{{containerPort: 8080, hostPort: 8080}}]
      resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
      readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"""


@pytest.fixture(scope="module", autouse=True)
def _image(machine: Guest) -> None:
    machine.write("/root/web.yaml", _POD)
    machine.orlop("image", "pull", BUSYBOX)


def test_the_machine_is_ready_and_is_what_users_have(machine: Guest) -> None:
    assert machine.run("stat", "-fc", "%T", "/sys/fs/cgroup").stdout.strip() == "cgroup2fs"
    assert machine.run("cat", "/proc/1/comm").stdout.strip() == "systemd"
    machine.orlop("node", "check")


def test_a_container_runs_and_its_exit_code_comes_back(machine: Guest) -> None:
    assert machine.orlop("run", "--rm", BUSYBOX, "echo", "hello").strip() == "hello"
    done = machine.run(PROGRAM, "run", "--rm", BUSYBOX, "sh", "-c", "exit 7", check=False)
    assert done.status == 7


def test_limits_are_in_the_cgroup_v2_files(machine: Guest) -> None:
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max"
    options = ("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50")
    said = machine.orlop("run", "--rm", *options, BUSYBOX, "sh", "-c", script).split()
    assert said == [str(64 * 1024 * 1024), "50000", "100000", "50"]


def test_running_out_of_memory_is_reported_as_such(machine: Guest) -> None:
    eater = ("--name", "eater", "--memory", "16m", BUSYBOX, "tail", "/dev/zero")
    assert machine.run(PROGRAM, "run", *eater, check=False).status == 137
    [found] = _json(machine, "inspect", "eater")
    assert found["reason"] == "OOMKilled"
    machine.orlop("remove", "eater")


def test_a_played_pod_answers_and_outlives_its_supervisor(machine: Guest) -> None:
    machine.orlop("play", "/root/web.yaml", "--wait", "300", timeout=120)
    assert machine.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip() == "hello"
    before = [c["id"] for c in _json(machine, "ps")]
    machine.run("pkill", "-9", "-f", "orlop supervise")
    assert machine.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip() == "hello"
    machine.orlop("play", "/root/web.yaml", "--wait", "300", timeout=120)
    assert [c["id"] for c in _json(machine, "ps")] == before


def test_a_reboot_is_noticed_and_the_pod_comes_back(machine: Guest) -> None:
    machine.reboot()
    machine.until("systemctl is-active registry")
    states = {c["state"] for c in _json(machine, "ps", "--all")}
    assert "running" not in states
    machine.orlop("play", "/root/web.yaml", "--wait", "300", timeout=120)
    assert machine.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip() == "hello"


def test_everything_is_taken_down_again(machine: Guest) -> None:
    machine.orlop("node", "down", "--purge")
    assert "orlop" not in machine.run("cat", "/proc/mounts").stdout
    assert "orlop" not in machine.run("ip", "-br", "link").stdout
    assert "orlop" not in machine.run("iptables-save").stdout.lower()
    assert not machine.run("sh", "-c", "ls -d /sys/fs/cgroup/orlop* 2>/dev/null || true").stdout
    assert not machine.run("pgrep", "conmon", check=False).stdout


def _json(machine: Guest, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(machine.orlop(*arguments, "--output", "json"))
    return found if isinstance(found, list) else [found]
