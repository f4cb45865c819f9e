"""Orlop in a stock Debian guest: the wheel alone, systemd as PID 1, pure cgroup v2, and a real reboot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vm.guest import Guest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1800)]

_REGISTRY = "127.0.0.1:5055"
_BUSYBOX = f"{_REGISTRY}/busybox:latest"
_REGISTRIES_CONF = f'[[registry]]\\nlocation = "{_REGISTRY}"\\ninsecure = true\\n'
_REGISTRY_YML = f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: /var/lib/registry}}}}
http: {{addr: "{_REGISTRY}"}}
"""
_POD = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: httpd
      image: {_BUSYBOX}
      command: [sh, -c, "mkdir /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
      ports: [{{containerPort: 8080, hostPort: 8080}}]
      resources: {{limits: {{memory: 64Mi, cpu: 500m}}}}
      readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"""


def prepare(running: Guest) -> None:
    """A registry in the guest, and the busybox image in it and in Orlop's store."""
    _write(running, "/etc/registry.yml", _REGISTRY_YML)
    _write(running, "/etc/containers/registries.conf", _REGISTRIES_CONF.replace("\\n", "\n"))
    _write(running, "/root/web.yaml", _POD)
    _start_registry(running)
    source = "oci:/payload/busybox:latest"
    running.run("skopeo", "copy", "--dest-tls-verify=false", source, f"docker://{_BUSYBOX}")
    orlop(running, "image", "pull", _BUSYBOX)


def test_the_machine_is_ready_and_is_what_users_have(machine: Guest) -> None:
    assert machine.run("stat", "-fc", "%T", "/sys/fs/cgroup").stdout.strip() == "cgroup2fs"
    assert machine.run("cat", "/proc/1/comm").stdout.strip() == "systemd"
    orlop(machine, "node", "check")


def test_a_container_runs_and_its_exit_code_comes_back(machine: Guest) -> None:
    assert orlop(machine, "run", "--rm", _BUSYBOX, "echo", "hello").strip() == "hello"
    done = machine.run("/opt/orlop/bin/orlop", "run", "--rm", _BUSYBOX, "sh", "-c", "exit 7", check=False)
    assert done.status == 7


def test_limits_are_in_the_cgroup_v2_files(machine: Guest) -> None:
    script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max"
    options = ("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50")
    said = orlop(machine, "run", "--rm", *options, _BUSYBOX, "sh", "-c", script).split()
    assert said == [str(64 * 1024 * 1024), "50000", "100000", "50"]


def test_running_out_of_memory_is_reported_as_such(machine: Guest) -> None:
    eater = ("--name", "eater", "--memory", "16m", _BUSYBOX, "tail", "/dev/zero")
    assert machine.run("/opt/orlop/bin/orlop", "run", *eater, check=False).status == 137
    [found] = _json(machine, "inspect", "eater")
    assert found["reason"] == "OOMKilled"
    orlop(machine, "remove", "eater")


def test_a_played_pod_answers_and_outlives_its_supervisor(machine: Guest) -> None:
    orlop(machine, "play", "/root/web.yaml", "--wait", "120")
    assert machine.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip() == "hello"
    before = [c["id"] for c in _json(machine, "ps")]
    machine.run("pkill", "-9", "-f", "orlop supervise")
    assert machine.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip() == "hello"
    orlop(machine, "play", "/root/web.yaml", "--wait", "120")
    assert [c["id"] for c in _json(machine, "ps")] == before


def test_a_reboot_is_noticed_and_the_pod_comes_back(machine: Guest) -> None:
    machine.reboot()
    _start_registry(machine)
    states = {c["state"] for c in _json(machine, "ps", "--all")}
    assert "running" not in states
    orlop(machine, "play", "/root/web.yaml", "--wait", "180")
    assert machine.run("curl", "-s", "http://127.0.0.1:8080/").stdout.strip() == "hello"


def test_everything_is_taken_down_again(machine: Guest) -> None:
    orlop(machine, "node", "down", "--purge")
    assert "orlop" not in machine.run("cat", "/proc/mounts").stdout
    assert "orlop" not in machine.run("ip", "-br", "link").stdout
    assert "orlop" not in machine.run("iptables-save").stdout.lower()
    assert not machine.run("sh", "-c", "ls -d /sys/fs/cgroup/orlop* 2>/dev/null || true").stdout
    assert not machine.run("pgrep", "conmon", check=False).stdout


def orlop(machine: Guest, *arguments: str) -> str:
    return machine.run("/opt/orlop/bin/orlop", *arguments, timeout=300).stdout


def _json(machine: Guest, *arguments: str) -> list[dict[str, Any]]:
    found = json.loads(orlop(machine, *arguments, "--output", "json"))
    return found if isinstance(found, list) else [found]


def _write(machine: Guest, path: str, text: str) -> None:
    folder = str(Path(path).parent)
    machine.run("sh", "-c", 'mkdir -p "$1" && printf %s "$2" > "$3"', "sh", folder, text, path)


def _start_registry(machine: Guest) -> None:
    command = ("docker-registry", "serve", "/etc/registry.yml")
    machine.run("systemd-run", "--unit=registry", "--property=Restart=always", *command)
    machine.run(
        "sh", "-c", f"for i in $(seq 100); do curl -s http://{_REGISTRY}/v2/ && exit; sleep 0.2; done; exit 1"
    )
