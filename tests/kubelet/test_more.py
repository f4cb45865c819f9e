"""What else a kubelet asks of its runtime (issue 4, "A real kubelet"): debugging, shared namespaces, runtime
classes, rotated logs, security contexts; and the runtime as its source of figures, by its gate.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubelet.cluster import NODE_NAME
from tests.kubelet.conftest import Bench, bench
from tests.kubelet.manifests import container, pod
from tests.kubelet.test_node import phase, running

pytestmark = [pytest.mark.host, pytest.mark.timeout(420)]

_SLEEP = ("sh", "-c", "trap exit TERM; sleep 1000 & wait")
_GATES = {
    "ContainerStopSignals": True,
    "CRIListStreaming": True,
    "PodAndContainerStatsFromCRI": True,
}


@pytest.fixture(scope="module")
def here(plane: Any, prepared: Any) -> Iterator[Bench]:
    more: dict[str, Any] = {
        "featureGates": _GATES,
        "containerLogMaxSize": "16Ki",
        "containerLogMaxFiles": 3,
        "containerLogMonitorInterval": "3s",
        "allowedUnsafeSysctls": ["net.core.somaxconn"],
    }
    with bench(plane, prepared, "1.36", **more) as made:
        yield made


def said(here: Bench, name: str, *command: str, spec: dict[str, Any] | None = None, **more: Any) -> str:
    """What a pod of one container prints until its end."""
    here.plane.apply(
        pod(name, container(here.image, *command, **more), restartPolicy="Never", **(spec or {}))
    )
    here.plane.wait(f"the end of {name}", lambda: phase(here, name) in ("Succeeded", "Failed"))
    return here.plane.kubectl("logs", name).stdout.strip()


def state(here: Bench, name: str) -> dict[str, Any]:
    statuses = here.plane.get("pod", name)["status"].get("containerStatuses", [{}])
    found: dict[str, Any] = statuses[0].get("state", {})
    return found


def test_figures_come_from_the_runtime(here: Bench) -> None:
    work = "while true; do head -c 1000000 /dev/zero | md5sum >/dev/null; sleep 0.05; done"
    here.plane.apply(pod("busy", container(here.image, "sh", "-c", work)))
    running(here, "busy")

    summary = f"/api/v1/nodes/{NODE_NAME}/proxy/stats/summary?only_cpu_and_memory=true"

    def measured() -> bool:
        pods = json.loads(here.plane.kubectl("get", "--raw", summary).stdout)["pods"]
        found = [each for each in pods if each["podRef"]["name"] == "busy" and each.get("containers")]
        if not found:
            return False
        [inside] = found[0]["containers"]
        return bool(
            inside["name"] == "main"
            and inside["cpu"].get("usageNanoCores")
            and inside["cpu"]["usageCoreNanoSeconds"] > 0
            and inside["memory"]["workingSetBytes"] > 0
            and found[0]["cpu"].get("usageNanoCores")
            and found[0]["memory"]["workingSetBytes"] > 0
        )

    here.plane.wait("the summary", measured)
    raw = here.plane.kubectl("get", "--raw", f"/api/v1/nodes/{NODE_NAME}/proxy/metrics/cadvisor").stdout
    lines = [line for line in raw.splitlines() if 'pod="busy"' in line]
    assert any(
        line.startswith("container_cpu_usage_seconds_total{") and 'container="main"' in line for line in lines
    )
    assert any(line.startswith("container_memory_working_set_bytes{") for line in lines)
    assert any(
        line.startswith("container_network_receive_bytes_total{") and 'interface="eth0"' in line
        for line in lines
    )
    here.plane.delete("pod", "busy", "--grace-period=1")


def test_an_ephemeral_container_sees_its_targets_processes(here: Bench) -> None:
    here.plane.apply(pod("patient", container(here.image, *_SLEEP)))
    running(here, "patient")
    look = ("--", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '; echo; touch /proc/1/root/tmp/been")
    debug = ("debug", "patient", f"--image={here.image}", "--image-pull-policy=IfNotPresent")
    here.plane.kubectl(*debug, "--target=main", "--container=doctor", "--profile=general", *look)

    def done() -> bool:
        statuses = here.plane.get("pod", "patient")["status"].get("ephemeralContainerStatuses", [])
        return bool(statuses) and "terminated" in statuses[0]["state"]

    here.plane.wait("the debugger's end", done)
    assert here.plane.kubectl("logs", "patient", "-c", "doctor").stdout.startswith("sh -c trap exit TERM")
    assert here.plane.kubectl("exec", "patient", "-c", "main", "--", "ls", "/tmp/been").stdout
    here.plane.delete("pod", "patient", "--grace-period=1")


def test_a_pod_shares_its_processes(here: Bench) -> None:
    helm = container(here.image, *_SLEEP, name="helm")
    mate = container(here.image, *_SLEEP, name="mate")
    here.plane.apply(pod("crew", helm, mate, shareProcessNamespace=True))
    running(here, "crew")
    listed = here.plane.kubectl("exec", "crew", "-c", "mate", "--", "ps", "-o", "pid,args").stdout
    assert listed.count("trap exit TERM") >= 2
    assert not any(line.split()[0] == "1" and "trap" in line for line in listed.splitlines()), (
        "no container is the first process of a shared namespace"
    )
    here.plane.delete("pod", "crew", "--grace-period=1")


def test_a_pod_sees_the_machines_processes_and_memory(here: Bench) -> None:
    spec = {"hostPID": True, "hostIPC": True, "hostNetwork": True}
    look = "tr '\\0' ' ' < /proc/$0/cmdline"
    assert here.daemon.child is not None
    shown = said(here, "lookout", "sh", "-c", look, str(here.daemon.child.pid), spec=spec)
    assert "orlop serve" in shown


def test_a_runtime_class_chooses_the_runtime(here: Bench) -> None:
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass"}
    here.plane.apply(
        {**kind, "metadata": {"name": "other"}, "handler": "runc"},
        {**kind, "metadata": {"name": "absent"}, "handler": "no-such-runtime"},
    )
    here.plane.apply(
        pod("classy", container(here.image, *_SLEEP), runtimeClassName="other"),
        pod("lost", container(here.image, *_SLEEP), runtimeClassName="absent"),
    )
    running(here, "classy")
    assert here.plane.kubectl("exec", "classy", "--", "echo", "aboard").stdout == "aboard\n"

    def told() -> bool:
        events = here.plane.get("events", "--field-selector=involvedObject.name=lost")["items"]
        return any("no-such-runtime" in each["message"] for each in events)

    here.plane.wait("the event of the unknown handler", told)
    handlers = here.plane.get("node", NODE_NAME)["status"]["runtimeHandlers"]
    assert {"", "runc"} <= {each["name"] for each in handlers}
    here.plane.delete("pod", "classy", "lost", "--grace-period=1")


def test_logs_are_followed_while_the_kubelet_rotates_them(here: Bench) -> None:
    count = 1200
    lines = (
        f"i=0; while [ $i -lt {count} ]; do echo line $i of a log that grows; i=$((i+1)); sleep 0.01; done"
    )
    here.plane.apply(pod("writer", container(here.image, "sh", "-c", lines), restartPolicy="Never"))
    here.plane.wait("its beginning", lambda: "running" in state(here, "writer"))
    followed = subprocess.run(
        here.plane.kubectl_argv("logs", "-f", "writer"),
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    numbers = [int(line.split()[1]) for line in followed.stdout.splitlines()]
    assert numbers[-1] == count - 1
    assert numbers == list(range(numbers[0], count)), "a line was lost or told twice"
    uid = here.plane.get("pod", "writer")["metadata"]["uid"]
    files = list((here.kubelet.folder / "logs" / f"default_writer_{uid}" / "main").iterdir())
    assert len(files) > 1, "the kubelet has rotated nothing"


def test_security_contexts_are_honoured(here: Bench) -> None:
    look = (
        "id; grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status; stat -c %g /deck; "
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/core/somaxconn; touch /x"
    )
    context = {
        "runAsUser": 1234,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    sysctls = [
        {"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"},
        {"name": "net.core.somaxconn", "value": "777"},
    ]
    spec = {
        "securityContext": {
            "fsGroup": 4321,
            "supplementalGroups": [55],
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": sysctls,
        },
        "volumes": [{"name": "deck", "emptyDir": {}}],
    }
    mounts = [{"name": "deck", "mountPath": "/deck"}]
    shown = said(here, "guarded", "sh", "-c", look, spec=spec, securityContext=context, volumeMounts=mounts)
    lines = shown.splitlines()
    assert "uid=1234" in lines[0]
    assert "4321" in lines[0]
    assert "55" in lines[0]
    assert [line.split()[1] for line in lines[1:4]] == ["0000000000000000", "1", "2"]
    assert lines[4:7] == ["4321", "80", "777"]
    assert "Read-only file system" in lines[7]


def test_proc_is_not_masked_for_who_asks_in_a_user_namespace(here: Bench) -> None:
    look = "grep -c ' /proc/' /proc/self/mounts"
    shown = said(
        here,
        "unmasked",
        "sh",
        "-c",
        look,
        spec={"hostUsers": False},
        securityContext={"procMount": "Unmasked"},
    )
    assert shown == "0"


def test_a_sub_path_of_a_volume_is_mounted(here: Bench) -> None:
    init = container(
        here.image,
        "sh",
        "-c",
        "mkdir -p /all/a/b; echo deep > /all/a/b/f",
        name="init",
        volumeMounts=[{"name": "deck", "mountPath": "/all"}],
    )
    spec = {"initContainers": [init], "volumes": [{"name": "deck", "emptyDir": {}}]}
    mounts = [
        {"name": "deck", "mountPath": "/b", "subPath": "a/b"},
        {"name": "deck", "mountPath": "/file", "subPath": "a/b/f"},
        {"name": "deck", "mountPath": "/name", "subPathExpr": "$(WHO)"},
    ]
    env = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    shown = said(
        here,
        "sub",
        "sh",
        "-c",
        "cat /b/f /file; echo x > /name/y; ls /name",
        spec=spec,
        volumeMounts=mounts,
        env=env,
    )
    assert shown.splitlines() == ["deep", "deep", "y"]


def test_last_words_are_taken_from_the_log_or_the_file(here: Bench) -> None:
    from_log = container(
        here.image,
        "sh",
        "-c",
        "echo it broke; exit 1",
        name="log",
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    from_file = container(here.image, "sh", "-c", "echo -n farewell > /dev/termination-log", name="file")
    here.plane.apply(pod("words", from_log, from_file, restartPolicy="Never"))
    here.plane.wait("its end", lambda: phase(here, "words") == "Failed")
    statuses = here.plane.get("pod", "words")["status"]["containerStatuses"]
    messages = {each["name"]: each["state"]["terminated"].get("message") for each in statuses}
    assert messages == {"log": "it broke\n", "file": "farewell"}


def test_a_stop_signal_is_the_pods(here: Bench) -> None:
    script = "trap 'echo got usr1; exit 0' USR1; trap '' TERM; echo up; while true; do sleep 0.1; done"
    told = container(here.image, "sh", "-c", script, lifecycle={"stopSignal": "SIGUSR1"})
    here.plane.apply(pod("signalled", told, os={"name": "linux"}, terminationGracePeriodSeconds=60))
    running(here, "signalled")
    assert here.plane.get("pod", "signalled")["status"]["containerStatuses"][0]["stopSignal"] == "SIGUSR1"
    began = time.monotonic()
    here.plane.delete("pod", "signalled", "--grace-period=60")
    assert time.monotonic() - began < 40, "SIGUSR1 did not reach it"


def test_a_command_that_is_not_there_is_told(here: Bench) -> None:
    here.plane.apply(
        pod("nothing", container(here.image, "/no/such/program"), restartPolicy="Never"),
        pod("again", container(here.image, "/no/such/program")),
    )
    here.plane.wait("its end", lambda: phase(here, "nothing") == "Failed")
    ended = state(here, "nothing")["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "/no/such/program" in ended["message"]

    def waits() -> bool:
        waiting = state(here, "again").get("waiting", {})
        return waiting.get("reason") in ("CrashLoopBackOff", "RunContainerError")

    here.plane.wait("the backoff", waits)
    here.plane.delete("pod", "again", "--grace-period=1")
