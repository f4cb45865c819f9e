"""crictl 1.36 against the daemon: every verb that an administrator uses, with the answers that he expects."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.cri import Daemon, daemon
from tests.support.node import temporary_node
from tests.support.registry import registry
from tools.builds.build import program

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]

_IMAGE = "docker.io/library/busybox:latest"
_LOOP = "echo ready; echo bad >&2; trap 'exit 0' TERM; while :; do sleep 0.1; done"


class Crictl:
    """The program, pointed at one daemon."""

    def __init__(self, running: Daemon, folder: Path) -> None:
        self.daemon, self.folder = running, folder
        self._program = str(program("crictl"))
        self._config = folder / "crictl.yaml"
        address = f"unix://{running.socket}"
        self._config.write_text(f"runtime-endpoint: {address}\nimage-endpoint: {address}\ntimeout: 30\n")

    def argv(self, *arguments: str) -> list[str]:
        return [self._program, "--config", str(self._config), *arguments]

    def run(
        self, *arguments: str, code: int | None = 0, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*arguments), input=stdin, capture_output=True, timeout=120, check=False
        )
        text = subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )
        if code is not None:
            assert text.returncode == code, f"{arguments}: {text.returncode}\n{text.stdout}\n{text.stderr}"
        return text

    def say(self, *arguments: str) -> str:
        return self.run(*arguments).stdout.strip()

    def json(self, verb: str, *arguments: str) -> Any:
        return json.loads(self.say(verb, "--output", "json", *arguments))

    def file(self, name: str, value: object) -> str:
        path = self.folder / name
        path.write_text(json.dumps(value))
        return str(path)


@pytest.fixture(scope="module")
def crictl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crictl]:
    with temporary_node() as node, daemon(node) as running:
        yield Crictl(running, tmp_path_factory.mktemp("crictl"))


@pytest.fixture(scope="module")
def pod(crictl: Crictl) -> Iterator[tuple[str, str]]:
    """(pod, container) that runs a loop, by runp, create and start."""
    pod_file, container_file = _files(crictl, "web", _LOOP)
    sandbox = crictl.say("runp", pod_file)
    container = crictl.say("create", sandbox, container_file, pod_file)
    crictl.say("start", container)
    _until(lambda: "ready" in crictl.say("logs", container))
    yield sandbox, container
    crictl.say("rmp", "--force", sandbox)


def _files(crictl: Crictl, name: str, script: str) -> tuple[str, str]:
    metadata = {"name": name, "namespace": "default", "uid": f"uid-{name}", "attempt": 1}
    logs = str(crictl.folder / f"logs-{name}")
    pod_file = crictl.file(f"{name}-pod.json", {"metadata": metadata, "log_directory": logs, "linux": {}})
    config = {
        "metadata": {"name": "main"},
        "image": {"image": _IMAGE},
        "command": ["sh", "-c", script],
        "log_path": "main.log",
        "stdin": True,
        "linux": {},
    }
    return pod_file, crictl.file(f"{name}-container.json", config)


def _until(what: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_version_info_and_runtime_config_are_told(crictl: Crictl) -> None:
    told = crictl.say("version")
    assert re.search(r"RuntimeName: +orlop", told)
    assert re.search(r"RuntimeApiVersion: +v1$", told, re.MULTILINE)
    info = json.loads(crictl.say("info"))
    assert {c["type"]: c["status"] for c in info["status"]["conditions"]} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    assert re.search("cgroup driver: +(CGROUPFS|SYSTEMD)", crictl.say("runtime-config"))


def test_the_pods_network_range_may_be_told(crictl: Crictl) -> None:
    crictl.run("config", "--list")
    crictl.say("update-runtime-config", "10.9.0.0/24")


def test_pods_and_containers_are_listed_and_looked_into(crictl: Crictl, pod: tuple[str, str]) -> None:
    sandbox, container = pod
    assert sandbox in crictl.say("pods", "--quiet", "--no-trunc").splitlines()
    assert container in crictl.say("ps", "--quiet", "--no-trunc").splitlines()
    assert "web" in crictl.say("pods", "--name", "web", "--state", "Ready")
    [listed] = [each for each in crictl.json("ps")["containers"] if each["id"] == container]
    assert listed["metadata"]["name"] == "main"
    told = crictl.json("inspect", container)
    assert told["status"]["state"] == "CONTAINER_RUNNING"
    assert told["info"]["pid"] > 0
    assert crictl.json("inspectp", sandbox)["status"]["state"] == "SANDBOX_READY"
    assert crictl.json("inspectp", sandbox[:12])["status"]["network"]["ip"]


def test_commands_run_in_a_container(crictl: Crictl, pod: tuple[str, str]) -> None:
    _, container = pod
    assert crictl.say("exec", "--sync", container, "echo", "hi") == "hi"
    failed = crictl.run("exec", "--sync", container, "sh", "-c", "echo no >&2; exit 7", code=None)
    assert failed.returncode != 0
    assert "no" in failed.stderr
    for transport in ("spdy", "websocket"):
        streamed = crictl.run("exec", "-i", "--transport", transport, container, "cat", stdin=b"through")
        assert streamed.stdout == "through"
    assert crictl.run("exec", container, "sh", "-c", "exit 3", code=None).returncode != 0


def test_logs_hold_both_streams(crictl: Crictl, pod: tuple[str, str]) -> None:
    _, container = pod
    told = crictl.run("logs", container)
    assert told.stdout.splitlines() == ["ready"]
    assert told.stderr.splitlines() == ["bad"]
    assert crictl.say("logs", "--tail", "1", container) in ("", "ready")


def test_attach_sees_what_the_container_writes(crictl: Crictl) -> None:
    pod_file, container_file = _files(crictl, "echo", "while read line; do echo got $line; done")
    container = crictl.say("run", "--no-pull", container_file, pod_file)
    attached = subprocess.Popen(
        crictl.argv("attach", "-i", container), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got hello\n"
    finally:
        attached.kill()
        attached.communicate()
    crictl.say("stop", "--timeout", "0", container)
    assert crictl.json("inspect", container)["status"]["state"] == "CONTAINER_EXITED"
    crictl.say("rm", container)
    crictl.say("rmp", "--force", crictl.say("pods", "--name", "echo", "--quiet", "--no-trunc"))


def test_use_of_resources_is_told(crictl: Crictl, pod: tuple[str, str]) -> None:
    sandbox, container = pod
    [stats] = crictl.json("stats", container)["stats"]
    assert int(stats["memory"]["workingSetBytes"]["value"]) > 0
    assert crictl.json("statsp", "--id", sandbox)["stats"][0]["attributes"]["id"] == sandbox
    assert sandbox in crictl.say("metricsp")
    assert crictl.json("imagefsinfo")["status"]["imageFilesystems"][0]["fsId"]["mountpoint"]


def test_limits_change_while_a_container_runs(crictl: Crictl, pod: tuple[str, str]) -> None:
    _, container = pod
    crictl.say("update", "--memory", str(64 * 1024 * 1024), "--cpu-share", "256", container)
    resources = crictl.json("inspect", container)["status"]["resources"]["linux"]
    assert (resources["memoryLimitInBytes"], resources["cpuShares"]) == (str(64 * 1024 * 1024), "256")


def test_a_checkpoint_is_made_or_refused_with_the_reason(crictl: Crictl, pod: tuple[str, str]) -> None:
    _, container = pod
    done = crictl.run("checkpoint", "--export", str(crictl.folder / "x.tar"), container, code=None)
    assert done.returncode == 0 or "Unimplemented" in done.stderr


def test_a_port_of_the_pod_is_reached_through_the_daemon(crictl: Crictl, pod: tuple[str, str]) -> None:
    sandbox, container = pod
    script = "mkdir -p /tmp/w; echo page > /tmp/w/index.html; httpd -p 8080 -h /tmp/w"
    crictl.say("exec", "--sync", container, "sh", "-c", script)
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port = made.getsockname()[1]
    forwarding = subprocess.Popen(
        crictl.argv("port-forward", sandbox, f"{port}:8080"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:

        def page() -> bytes:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                    return bytes(answer.read())
            except OSError:
                return b""

        _until(lambda: page() == b"page\n")
    finally:
        forwarding.send_signal(signal.SIGINT)
        forwarding.communicate(timeout=30)


def test_events_are_told_while_they_happen(crictl: Crictl) -> None:
    heard: list[str] = []
    watching = subprocess.Popen(
        crictl.argv("events"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert watching.stdout is not None
    lines = watching.stdout
    reader = threading.Thread(target=lambda: heard.extend(lines), daemon=True)
    reader.start()
    try:
        pod_file, container_file = _files(crictl, "short", "exit 0")
        deadline = time.monotonic() + 60
        while not any("CONTAINER_CREATED_EVENT" in line for line in heard):
            assert time.monotonic() < deadline, "no event"
            container = crictl.say("run", "--no-pull", container_file, pod_file)
            time.sleep(0.5)
            sandbox = crictl.json("inspect", container)["info"]["sandboxID"]
            crictl.say("rmp", "--force", sandbox)
            time.sleep(0.2)
    finally:
        watching.kill()
        watching.wait()
        reader.join(10)


def test_images_are_pulled_listed_looked_into_and_removed(
    crictl: Crictl, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry() as running:
        images.push(running, "crictl:1", images.Image((images.Layer(images.tar({"file": b"x"})),)))
        name = f"{running.address}/crictl:1"
        conf = Path(crictl.daemon.node.root).parent / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{running.address}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        crictl.daemon.stop()
        crictl.daemon.start()
        assert "Image is up to date" in crictl.say("pull", name)
        assert name in {tag for image in crictl.json("images")["images"] for tag in image["repoTags"]}
        assert name in crictl.json("inspecti", name)["status"]["repoTags"]
        crictl.say("rmi", name)
        crictl.run("inspecti", name, code=1)


def test_pods_are_stopped_and_removed_and_unused_images_pruned(crictl: Crictl) -> None:
    pod_file, container_file = _files(crictl, "gone", _LOOP)
    container = crictl.say("run", "--no-pull", container_file, pod_file)
    [sandbox] = crictl.say("pods", "--name", "gone", "--quiet", "--no-trunc").split()
    assert "is used by container" in crictl.run("rmi", _IMAGE, code=1).stderr
    crictl.say("rmi", "--prune")
    assert _IMAGE in crictl.say("images", "--output", "json")
    crictl.say("stopp", sandbox)
    assert crictl.json("inspectp", sandbox)["status"]["state"] == "SANDBOX_NOTREADY"
    assert crictl.json("inspect", container)["status"]["state"] == "CONTAINER_EXITED"
    crictl.say("stopp", sandbox)
    crictl.say("rmp", sandbox)
    crictl.run("inspectp", sandbox, code=1)
