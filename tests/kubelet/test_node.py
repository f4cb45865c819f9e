"""Real kubelets of three minor versions run their pods on `orlop serve` (issue 4, "A real kubelet")."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubelet.cluster import NODE_ADDRESS, NODE_NAME, inside
from tests.kubelet.conftest import Bench, bench
from tests.kubelet.manifests import container, deployment, job, pod

pytestmark = [pytest.mark.host, pytest.mark.timeout(420)]

_SLEEP = ("sh", "-c", "trap exit TERM; sleep 1000 & wait")


@pytest.fixture(scope="module", params=["1.36", "1.35", "1.34"])
def here(request: pytest.FixtureRequest, plane: Any, prepared: Any) -> Iterator[Bench]:
    with bench(plane, prepared, request.param) as made:
        yield made


def phase(here: Bench, name: str) -> str:
    return str(here.plane.get("pod", name)["status"].get("phase"))


def running(here: Bench, name: str) -> None:
    def ready() -> bool:
        statuses = here.plane.get("pod", name)["status"].get("containerStatuses", [])
        return bool(statuses) and all(each["ready"] for each in statuses)

    here.plane.wait(f"pod {name} to be ready", ready)


def test_the_node_is_ready_and_names_its_runtime(here: Bench) -> None:
    info = here.plane.get("node", NODE_NAME)["status"]["nodeInfo"]
    assert info["containerRuntimeVersion"].startswith("orlop://")
    assert info["kubeletVersion"].startswith(f"v{here.kubelet.minor}.")


def test_a_deployment_is_rolled_out_and_scaled(here: Bench) -> None:
    here.plane.apply(deployment("fleet", here.image, *_SLEEP, replicas=2))
    here.plane.kubectl("rollout", "status", "deployment/fleet", "--timeout=90s")
    here.plane.kubectl("scale", "deployment/fleet", "--replicas=5")
    here.plane.kubectl("rollout", "status", "deployment/fleet", "--timeout=90s")
    addresses = {item["status"]["podIP"] for item in here.plane.get("pods", "-l", "app=fleet")["items"]}
    assert len(addresses) == 5
    here.plane.delete("deployment", "fleet")
    here.plane.wait("its pods to go", lambda: not here.plane.get("pods", "-l", "app=fleet")["items"])


def test_a_job_runs_its_init_container_and_its_sidecar(here: Bench) -> None:
    volume: dict[str, Any] = {"volumeMounts": [{"name": "deck", "mountPath": "/deck"}]}
    init = container(here.image, "sh", "-c", "echo one > /deck/log", name="init", **volume)
    sidecar = container(
        here.image,
        "sh",
        "-c",
        "echo two >> /deck/log; trap exit TERM; while true; do sleep 0.1; done",
        name="sidecar",
        restartPolicy="Always",
        startupProbe={"exec": {"command": ["grep", "two", "/deck/log"]}, "periodSeconds": 1},
        **volume,
    )
    made = job("voyage", container(here.image, "cat", "/deck/log", **volume), init=[init, sidecar])
    made["spec"]["template"]["spec"]["volumes"] = [{"name": "deck", "emptyDir": {}}]
    here.plane.apply(made)
    here.plane.kubectl("wait", "--for=condition=complete", "job/voyage", "--timeout=90s", timeout=100)
    assert here.plane.kubectl("logs", "job/voyage", "-c", "main").stdout == "one\ntwo\n"


def test_exec_attach_logs_and_copies_go_through_the_api_server(here: Bench, tmp_path: Path) -> None:
    talk = container(here.image, "sh", "-c", "while read line; do echo got $line; done", stdin=True)
    here.plane.apply(pod("radio", talk))
    running(here, "radio")
    kubectl = here.plane.kubectl
    assert kubectl("exec", "radio", "--", "sh", "-c", "echo out; echo err >&2").stdout == "out\n"
    assert kubectl("exec", "-i", "radio", "--", "cat", stdin="through\n").stdout == "through\n"
    assert kubectl("exec", "radio", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    assert "not found" in kubectl("exec", "radio", "--", "no-such", check=False).stderr
    attached = subprocess.Popen(
        here.plane.kubectl_argv("attach", "-i", "radio"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write("ahoy\n")
        attached.stdin.flush()
        assert "got ahoy" in attached.stdout.readline()
    finally:
        attached.kill()
        attached.wait()
    followed = subprocess.Popen(
        here.plane.kubectl_argv("logs", "-f", "radio"), stdout=subprocess.PIPE, text=True
    )
    try:
        assert followed.stdout is not None
        assert followed.stdout.readline() == "got ahoy\n"
    finally:
        followed.kill()
        followed.wait()
    cargo = tmp_path / "cargo"
    cargo.write_bytes(bytes(range(256)) * 4096)
    kubectl("cp", str(cargo), "radio:/tmp/cargo")
    kubectl("cp", "radio:/tmp/cargo", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == cargo.read_bytes()


def test_ports_are_forwarded_and_host_ports_reached(here: Bench) -> None:
    web = container(
        here.image,
        "sh",
        "-c",
        "echo aboard > /tmp/index.html; exec httpd -f -p 8080 -h /tmp",
        ports=[{"containerPort": 8080, "hostPort": 18081}],
        readinessProbe={"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1},
        livenessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    )
    here.plane.apply(pod("web", web))
    running(here, "web")
    assert _fetch(here, f"http://{NODE_ADDRESS}:18081/index.html") == "aboard\n"
    forward = subprocess.Popen(
        here.plane.kubectl_argv("port-forward", "pod/web", "18082:8080"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert forward.stdout is not None
        assert "Forwarding from" in forward.stdout.readline()
        for _ in range(5):
            assert _fetch(here, "http://127.0.0.1:18082/index.html") == "aboard\n"
    finally:
        forward.kill()
        forward.wait()


def _fetch(here: Bench, url: str) -> str:
    argv = [*inside(here.plane.netns), "curl", "--silent", "--show-error", "--fail", "--max-time", "10", url]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_a_failing_probe_restarts_the_container(here: Bench) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 2}
    sick = container(
        here.image, "sh", "-c", "touch /tmp/alive; sleep 2; rm /tmp/alive; sleep 1000", livenessProbe=probe
    )
    here.plane.apply(pod("sick", sick, terminationGracePeriodSeconds=0))

    def restarted() -> bool:
        statuses = here.plane.get("pod", "sick")["status"].get("containerStatuses", [])
        return bool(statuses) and statuses[0]["restartCount"] >= 1

    here.plane.wait("the restart", restarted)
    here.plane.delete("pod", "sick", "--grace-period=1")


def test_projected_volumes_hold_tokens_maps_and_the_pods_own_fields(here: Bench) -> None:
    here.plane.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "chart"},
            "data": {"course": "north"},
        }
    )
    sources: list[dict[str, Any]] = [
        {"configMap": {"name": "chart"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    reader = container(
        here.image,
        "sh",
        "-c",
        "cat /all/course; echo; cat /all/name; echo; test -s /all/token && echo token",
        volumeMounts=[{"name": "all", "mountPath": "/all"}],
    )
    volumes = [{"name": "all", "projected": {"sources": sources}}]
    here.plane.apply(pod("reader", reader, volumes=volumes, restartPolicy="Never"))
    here.plane.wait("its end", lambda: phase(here, "reader") == "Succeeded")
    assert here.plane.kubectl("logs", "reader").stdout == "north\nreader\ntoken\n"


def test_an_image_is_a_volume(here: Bench) -> None:
    mounts = [{"name": "content", "mountPath": "/content", "subPath": "content"}]
    shown = container(here.image, "sh", "-c", "cat /content/motd; touch /content/x", volumeMounts=mounts)
    volumes = [{"name": "content", "image": {"reference": here.content, "pullPolicy": "IfNotPresent"}}]
    here.plane.apply(pod("shown", shown, volumes=volumes, restartPolicy="Never"))
    here.plane.wait("its end", lambda: phase(here, "shown") in ("Succeeded", "Failed"))
    said = here.plane.kubectl("logs", "shown").stdout
    assert "hello from an image" in said
    assert "Read-only file system" in said


def test_a_pod_has_users_of_its_own(here: Bench) -> None:
    told = container(here.image, "sh", "-c", "id -u; cat /proc/self/uid_map; echo x > /deck/f; ls -ln /deck")
    told["volumeMounts"] = [{"name": "deck", "mountPath": "/deck"}]
    here.plane.apply(
        pod(
            "apart",
            told,
            hostUsers=False,
            restartPolicy="Never",
            volumes=[{"name": "deck", "emptyDir": {}}],
        )
    )
    here.plane.wait("its end", lambda: phase(here, "apart") in ("Succeeded", "Failed"))
    lines = here.plane.kubectl("logs", "apart").stdout.splitlines()
    assert lines[0] == "0"
    inner, outer, length = map(int, lines[1].split())
    assert (inner, length) == (0, 65536)
    assert outer >= 65536
    assert lines[-1].split()[2:4] == ["0", "0"]  # its own file, as it sees it


def test_a_container_beyond_its_memory_is_oom_killed(here: Bench) -> None:
    limits: dict[str, Any] = {"resources": {"limits": {"memory": "24Mi", "cpu": "500m"}}}
    greedy = container(here.image, "sh", "-c", "head -c 200000000 /dev/zero | tail -c 190000000", **limits)
    here.plane.apply(pod("greedy", greedy, restartPolicy="Never"))
    here.plane.wait("its end", lambda: phase(here, "greedy") == "Failed")
    ended = here.plane.get("pod", "greedy")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_a_pod_is_resized_in_place(here: Bench) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}}
    here.plane.apply(pod("elastic", container(here.image, *_SLEEP, resources=resources)))
    running(here, "elastic")
    changed = {"requests": {"cpu": "300m", "memory": "48Mi"}, "limits": {"cpu": "400m", "memory": "96Mi"}}
    patch = {"spec": {"containers": [{"name": "main", "resources": changed}]}}
    here.plane.kubectl("patch", "pod", "elastic", "--subresource=resize", f"--patch={json.dumps(patch)}")

    def resized() -> bool:
        status = here.plane.get("pod", "elastic")["status"]["containerStatuses"][0]
        return bool(status.get("resources", {}).get("limits", {}).get("memory") == "96Mi")

    here.plane.wait("the new limits", resized)
    status = here.plane.get("pod", "elastic")["status"]["containerStatuses"][0]
    assert status["restartCount"] == 0
    files = "/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    read = ("exec", "elastic", "--", "sh", "-c", f"cat {files} 2>/dev/null || true")
    assert here.plane.kubectl(*read).stdout.split() == [str(96 * 1024 * 1024)]


def test_deletion_waits_for_the_grace_period_and_the_stop_hook(here: Bench) -> None:
    told = ("sh", "-c", "trap 'sleep 1; exit 0' TERM; while true; do sleep 0.1; done")
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "sleep 1"]}}}
    here.plane.apply(pod("polite", container(here.image, *told, lifecycle=hook)))
    running(here, "polite")
    began = time.monotonic()
    here.plane.delete("pod", "polite", "--grace-period=20")
    took = time.monotonic() - began
    assert 1.9 <= took < 18, "either somebody did not wait, or SIGTERM was not enough"


def test_neither_a_killed_daemon_nor_a_killed_kubelet_restarts_a_pod(here: Bench) -> None:
    here.plane.apply(deployment("steady", here.image, *_SLEEP, replicas=6))
    here.plane.kubectl("rollout", "status", "deployment/steady", "--timeout=90s")
    before = _restarts(here)
    assert len(before) == 6
    here.plane.kubectl("scale", "deployment/steady", "--replicas=12")  # the load
    for _ in range(3):
        time.sleep(1)
        here.daemon.kill()
        here.daemon.start()
    here.kubelet.kill()
    here.kubelet.start()
    here.plane.kubectl("rollout", "status", "deployment/steady", "--timeout=120s", timeout=130)
    after = _restarts(here)
    assert len(after) == 12
    # The kubelet makes a container anew whose start it could not ask for; one that runs is never touched.
    assert before.items() <= after.items()
    here.plane.delete("deployment", "steady")
    here.plane.wait("its pods to go", lambda: not here.plane.get("pods", "-l", "app=steady")["items"])


def _restarts(here: Bench) -> dict[str, int]:
    """Restart counts by the container's ID, which a restart would change."""
    items = here.plane.get("pods", "-l", "app=steady")["items"]
    statuses = [status for item in items for status in item["status"].get("containerStatuses", [])]
    return {status["containerID"]: status["restartCount"] for status in statuses}
