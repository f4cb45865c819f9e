"""`orlop play`, `supervise`, `pod` through the program, with a real supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orlop.kit.node import Node
from tests.cli.program import ORLOP, answer, orlop
from tests.support.node import leaks, temporary_node

pytestmark = pytest.mark.host

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: docker.io/library/busybox:latest
    imagePullPolicy: Never
    command: [sh, -c, "COMMAND"]
"""


def pod(name: str, command: str) -> str:
    return POD.replace("NAME", name).replace("COMMAND", command)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    with temporary_node() as made:
        for name, value in {"ROOT": made.root, "STATE": made.state, "CONFIG": made.config}.items():
            monkeypatch.setenv(f"ORLOP_{name}", value)
        try:
            yield made
        finally:
            orlop("node", "down", "--time", "0", code=None)


def until(true: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


def test_a_played_pod_runs_and_is_taken_away(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(pod("web", "echo hello; exec sleep 1000"))
    planned = orlop("play", "--plan", str(file))
    assert "+ Pod/default/web" in planned.stdout
    assert answer("ps") == []
    told = answer("play", "--wait", "60", str(file))
    assert told["ready"] is True
    assert told["plan"]["counts"]["create"] == 1
    assert told["pods"][0]["phase"] == "Running"
    (listed,) = answer("ps")
    assert (listed["name"], listed["pod"], listed["container"]) == ("web/main", "web", "main")
    assert orlop("logs", "web/main").stdout == orlop("logs", "web").stdout == "hello\n"
    assert orlop("exec", "web", "echo", "inside").stdout == "inside\n"
    (listed,) = answer("pod", "list")
    assert (listed["name"], listed["phase"], listed["ready"]) == ("web", "Running", True)
    assert listed["source"] == str(file)
    assert "Running" in orlop("pod", "list").stdout
    again = orlop("play", str(file))
    assert again.stdout.startswith("nothing to do")
    down = answer("play", "--down", str(file))
    assert down["plan"]["counts"]["remove"] == 1
    assert answer("pod", "list") == answer("ps", "--all") == []
    assert orlop("play", "--down", str(file)).stdout.startswith("nothing to do")


def test_a_played_pod_that_is_stopped_stays_so_until_it_is_played_again(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(pod("web", "exec sleep 1000"))
    orlop("play", str(file))
    assert orlop("pod", "stop", "web").stdout == "web\n"
    orlop("pod", "stop", "web")
    assert answer("ps") == []
    orlop("supervise", "--stop")
    orlop("play", "--wait", "0", "-", stdin=pod("other", "exec sleep 1000").encode())
    until(lambda: [container["pod"] for container in answer("ps")] == ["other"])
    assert {pod["name"] for pod in answer("pod", "list")} == {"web", "other"}
    assert answer("pod", "inspect", "web")[0]["phase"] != "Running"
    orlop("play", str(file))
    assert {container["pod"] for container in answer("ps")} == {"web", "other"}
    orlop("pod", "remove", "web")
    orlop("pod", "remove", "--force", "other")
    assert answer("pod", "list") == answer("ps", "-a") == []
    orlop("pod", "remove", "web", code=3)


def test_play_reads_standard_input_and_tells_of_all_mistakes(node: Node) -> None:
    told = orlop("play", "-", stdin=pod("one", "exec sleep 1000").encode())
    assert "one" in told.stdout
    wrong = pod("two", "true").replace("image:", "imag:").encode()
    failed = orlop("play", "-", stdin=wrong, code=2)
    assert "imag" in failed.stderr
    assert "hint: " in failed.stderr
    orlop("play", "/no/such/file", code=2)
    orlop("play", code=2)
    orlop("play", "--all", code=2)
    orlop("play", "--down", "--all")
    assert answer("pod", "list") == []


def test_a_pod_that_fails_is_a_warning_unless_it_was_to_be_waited_for(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    never_ready = '    readinessProbe: {exec: {command: ["false"]}}\n'
    file.write_text(pod("bad", "echo no luck; exit 3") + never_ready + "  restartPolicy: Never\n")
    warned = orlop("play", str(file))
    assert "warning: " in warned.stderr
    assert "exit code 3" in warned.stderr
    assert "no luck" in warned.stderr
    failed = orlop("play", "--wait", "30", str(file), code=1)
    assert failed.stderr.startswith("error: ")
    (listed,) = answer("pod", "list")
    assert listed["phase"] == "Failed"


def test_a_container_that_ends_is_started_again_by_the_supervisor(node: Node) -> None:
    orlop("play", "-", stdin=pod("phoenix", "exec sleep 1000").encode())
    (before,) = answer("ps")
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: [c for c in answer("ps") if c["id"] != before["id"]])
    (listed,) = answer("pod", "list")
    assert listed["restarts"] == 1


def test_a_supervisor_in_the_foreground_adopts_and_stops(node: Node) -> None:
    orlop("play", "-", stdin=pod("web", "exec sleep 1000").encode())
    assert orlop("supervise", "--stop").stdout == "stopped\n"
    (before,) = answer("ps")
    child = subprocess.Popen([ORLOP, "supervise"], stderr=subprocess.PIPE)
    assert child.stderr is not None
    assert any(b"supervising" in line for line in iter(child.stderr.readline, b""))
    failed = orlop("supervise", code=4)
    assert failed.stderr.splitlines()[-2].startswith("error: ")
    assert answer("ps")[0]["id"] == before["id"]
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 0
    assert answer("ps")[0]["id"] == before["id"]
    assert orlop("supervise", "--stop").stdout == "none was running\n"


def test_node_down_keeps_what_was_declared_and_purge_does_not(node: Node, tmp_path: Path) -> None:
    orlop("play", "-", stdin=pod("web", "exec sleep 1000").encode())
    orlop("node", "down", "--time", "0")
    assert leaks(node) == []
    child = subprocess.Popen([ORLOP, "supervise"], stderr=subprocess.DEVNULL)
    until(lambda: answer("ps"))
    orlop("node", "down", "--time", "0", "--purge")
    assert child.wait(30) == 0
    assert leaks(node) == []
    assert not os.path.exists(node.root)


def test_a_pod_that_waits_for_its_next_start_is_listed_with_its_reason(node: Node) -> None:
    orlop("play", "--wait", "0", "-", stdin=pod("loop", "exit 1").encode())
    until(lambda: answer("pod", "list") and answer("pod", "list")[0]["restarts"] >= 1)
    told = json.loads(orlop("pod", "list", "-o", "json").stdout)
    assert told[0]["ready"] is False
    assert told[0]["name"] == "loop"
