"""The supervisor with real containers: restarts, probes of each kind, hooks, order, logs, its own death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orlop.kit import process
from orlop.system.play import play
from orlop.system.play_down import play_down
from orlop.system.records import Records
from orlop.system.supervise import start
from orlop.system.supervise.supervise import supervise
from tests.pod.test_crash import reboot
from tests.system.playing import CALM, Playing, container, deployment, playing, pod
from tests.system.probes.test_probes import health

pytestmark = pytest.mark.host


def mount(folder: Path) -> dict[str, Any]:
    """A folder of the test in the container, at /out: volume and mount."""
    return {"name": "out", "hostPath": {"path": str(folder)}}


AT_OUT = {"name": "out", "mountPath": "/out"}


def waits_after(played: Playing, restarts: int) -> bool:
    """Whether the second container waits for its next start."""
    short = played.status().containers[1]
    return short.restarts == restarts and short.reason == "CrashLoopBackOff"


def test_what_ends_is_started_again_and_counted(played: Playing) -> None:
    played.play(pod("web", container(), container("short", "sleep 0.3; exit 5")))
    calm = played.running()["web/app"]
    played.until(lambda: waits_after(played, restarts=1))
    assert played.status().containers[1].last_exit_code == 5
    assert played.running()["web/app"].id == calm.id


def test_a_successor_adopts_what_runs_with_the_counts_and_times_it_had(played: Playing) -> None:
    played.play(pod("web", container(), container("short", "exit 5")), wait=0)
    played.until(lambda: waits_after(played, restarts=1))
    before, calm = played.status(), played.running()["web/app"]
    recorded = Records(played.node).pods()[0].state
    for _ in range(3):
        played.kill_supervisor()
        assert played.running()["web/app"].id == calm.id
        played.start_supervisor()
        time.sleep(0.2)
    after = played.status()
    assert (after.restarts, after.containers[0].id) == (before.restarts, calm.id)
    again = Records(played.node).pods()[0].state
    assert again.of("short").until == recorded.of("short").until
    assert again.of("short").wait == recorded.of("short").wait


def test_killed_at_random_moments_it_loses_no_count_and_restarts_nothing_itself(
    played: Playing, tmp_path: Path
) -> None:
    tally = f"echo $$ >> /out/$HOSTNAME; {CALM}"
    worker = container("app", tally, volumeMounts=[AT_OUT])
    played.play(*[pod(f"p{n}", worker, volumes=[mount(tmp_path)]) for n in range(3)])
    chance = random.Random(7)
    killed = {f"p{n}": 0 for n in range(3)}
    for _ in range(12):
        name = chance.choice(list(killed))
        victim = played.running().get(f"{name}/app")
        if victim is not None:
            played.pods.engine.kill(victim.id, "SIGKILL")
            killed[name] += 1
        time.sleep(chance.random() * 0.15)
        played.kill_supervisor()
        if chance.random() < 0.5:
            time.sleep(chance.random() * 0.05)
        played.start_supervisor()
        time.sleep(chance.random() * 0.1)
    played.until(lambda: all(played.status(name).restarts == killed[name] for name in killed))
    for name, count in killed.items():
        starts = (tmp_path / name).read_text().count("\n")
        running = f"{name}/app" in played.running()
        assert starts == count + running, f"{name}: killed {count} times, started {starts} times"


def test_killed_while_pods_are_made_replaced_and_removed_it_leaves_nothing_behind(played: Playing) -> None:
    chance = random.Random(11)
    for turn in range(8):
        app = container("app", f": {turn}; {CALM}")
        declared = [pod(f"p{n}", app, initContainers=[container("init", "true")]) for n in range(2)]
        if "p0" in played.names() and chance.random() < 0.3:
            asyncio.run(play_down(played.node, names=["p0"], wait=0))
        played.play(*declared, wait=0)
        time.sleep(chance.random() * 0.5)
        played.kill_supervisor()
        played.start_supervisor()
    final = played.play(*declared)
    assert sorted(played.running()) == ["p0/app", "p1/app"]
    assert {pod.uid for pod in final.pods} == {s.config.uid for s in played.pods.sandboxes()}
    assert all(f": {turn};" in c.config.command[2] for c in played.running().values() if c.config.command)


def test_two_supervisors_never_run_at_once(played: Playing) -> None:
    os.makedirs(played.node.state, exist_ok=True)
    children = [process.spawn(start.command(played.node), env=dict(os.environ)) for _ in range(4)]
    pid = played.start_supervisor()
    others = [child for child in children if child.pid != pid]
    played.until(lambda: all(child.poll() is not None for child in others))
    assert all(child.returncode for child in others)  # each was refused
    assert played.supervisor() == pid


def test_two_plays_at_once_start_one_supervisor(played: Playing) -> None:
    import yaml

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            for name in ("one", "two", "three"):
                text = yaml.safe_dump(pod(name))
                group.create_task(play(played.node, played.config, text, wait=30))

    asyncio.run(both())
    assert sorted(played.running()) == ["one/app", "three/app", "two/app"]


def test_sigterm_ends_it_and_containers_go_on(played: Playing) -> None:
    played.play(pod("web", container(lifecycle={"preStop": {"sleep": {"seconds": 30}}})))
    before, pid = played.running(), played.supervisor()
    os.kill(pid, 15)
    played.until(lambda: not played.supervisor(), limit=5)
    assert played.running() == before
    played.start_supervisor()
    assert played.running() == before


# Probes


def ready_within(played: Playing, name: str = "web") -> None:
    played.until(lambda: played.status(name).ready)


def test_an_http_probe_makes_ready(played: Playing) -> None:
    script = "mkdir /www; sleep 0.5; echo ok > /www/healthz; exec httpd -f -p 8080 -h /www"
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1}
    ports = [{"name": "http", "containerPort": 8080}]
    played.play(pod("web", container(script=script, readinessProbe=probe, ports=ports)))
    assert played.status().ready


def test_a_tcp_probe_makes_ready(played: Playing) -> None:
    script = "sleep 0.5; exec httpd -f -p 7000"
    probe = {"tcpSocket": {"port": 7000}, "periodSeconds": 1}
    played.play(pod("web", container(script=script, readinessProbe=probe)))
    assert played.status().ready


def test_a_grpc_probe_makes_ready(played: Playing) -> None:
    with grpc_server() as port:
        probe = {"grpc": {"port": port, "service": "deep"}, "periodSeconds": 1}
        played.play(pod("web", container(readinessProbe=probe), hostNetwork=True))
        assert played.status().ready


def test_an_exec_probe_makes_ready_and_unready(played: Playing) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    played.play(pod("web", container(script=f"mkdir -p /tmp; {CALM}", readinessProbe=probe)), wait=0)
    played.until(lambda: played.status().containers[0].reason == "ReadinessProbeFailed")
    execute(played, "touch", "/tmp/ok")
    played.until(lambda: played.status().ready)
    execute(played, "rm", "/tmp/ok")
    played.until(lambda: not played.status().ready)
    assert played.status().restarts == 0


def test_an_exec_probe_that_hangs_fails_and_leaves_no_process(played: Playing) -> None:
    probe = {"exec": {"command": ["sleep", "1000"]}, "periodSeconds": 1, "timeoutSeconds": 1}
    played.play(pod("web", container(readinessProbe=probe)), wait=0)
    played.until(lambda: played.status().containers[0].reason == "ReadinessProbeFailed")
    assert "1 s" in played.status().containers[0].message


def test_a_failed_liveness_probe_restarts(played: Playing) -> None:
    script = f"mkdir -p /tmp; touch /tmp/ok; (sleep 1; rm /tmp/ok) & {CALM}"
    probe = {"exec": {"command": ["test", "-e", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}
    played.play(pod("web", container(script=script, livenessProbe=probe)))
    played.until(lambda: played.status().restarts >= 1)
    assert "LivenessProbeFailed" in played.status().containers[0].last_message


def test_a_startup_probe_gates_readiness(played: Playing) -> None:
    script = f"mkdir -p /tmp; (sleep 1; touch /tmp/up) & {CALM}"
    probe = {"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 30}
    played.play(pod("web", container(script=script, startupProbe=probe)))
    assert played.status().ready


# Order and hooks


def test_init_containers_sidecars_and_hooks_run_in_their_order(played: Playing, tmp_path: Path) -> None:
    def writes(name: str, then: str = "", **more: Any) -> dict[str, Any]:
        return container(name, f"echo {name} >> /out/order; {then}", volumeMounts=[AT_OUT], **more)

    def says(word: str) -> dict[str, Any]:
        return {"exec": {"command": ["sh", "-c", f"echo {word} >> /out/order"]}}

    ends = "trap 'echo {0} ends >> /out/order; exit 0' TERM; while :; do sleep 0.1; done"
    init = [
        writes("first"),
        writes("sidecar", ends.format("sidecar"), restartPolicy="Always"),
        writes("second"),
    ]
    app = writes(
        "app", ends.format("app"), lifecycle={"postStart": says("hello"), "preStop": says("goodbye")}
    )
    declared = pod("web", app, initContainers=init, volumes=[mount(tmp_path)])
    played.play(declared)
    played.down(declared)
    order = (tmp_path / "order").read_text().splitlines()
    assert order[:3] == ["first", "sidecar", "second"]
    assert sorted(order[3:5]) == ["app", "hello"]  # a hook runs beside the entry point
    assert order[5:] == ["goodbye", "app ends", "sidecar ends"]


def test_a_failed_post_start_hook_is_explained(played: Playing) -> None:
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "echo cannot >&2; exit 1"]}}}
    played.play(pod("web", container(lifecycle=hook), restartPolicy="Never"), wait=0)
    played.until(lambda: played.status().phase == "Failed")
    assert "cannot" in played.status().containers[0].message


def test_a_grace_period_ends_with_sigkill(played: Playing) -> None:
    deaf = pod("web", container(script="trap '' TERM; while :; do sleep 0.1; done"))
    deaf["spec"]["terminationGracePeriodSeconds"] = 1
    played.play(deaf)
    played.down(deaf, wait=15)
    assert played.pods.sandboxes() == []


def test_logs_are_rotated_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from orlop.kit import limits

    config = "[supervise]\nlog_size = 20000\nlog_files = 3\n"
    with playing(config) as played:
        noisy = container(script=f"(while :; do seq 1 200; sleep 0.01; done) & {CALM}")
        played.play(pod("web", noisy))
        path = played.running()["web/app"].log_path
        folder = os.path.dirname(path)
        played.until(
            lambda: len([name for name in os.listdir(folder) if name.startswith(os.path.basename(path))]) > 1,
            limit=limits.LOG_CHECK * 3,
        )


def test_a_play_that_is_killed_is_finished_by_playing_again(played: Playing, tmp_path: Path) -> None:
    import sys

    import yaml

    text = yaml.safe_dump_all([pod(f"p{n}") for n in range(3)])
    (tmp_path / "file.yaml").write_text(text)
    script = (
        "import asyncio, sys; from orlop.kit.config import Config; from orlop.kit.node import Node;"
        "from orlop.system.play import play; node = Node(*sys.argv[1:4]);"
        "asyncio.run(play(node, Config.load(node), open(sys.argv[4]).read(), wait=30))"
    )
    node = played.node
    argv = [sys.executable, "-c", script, node.root, node.state, node.config, str(tmp_path / "file.yaml")]
    chance = random.Random(3)
    for _ in range(4):
        child = subprocess.Popen(argv)
        time.sleep(0.3 + chance.random() * 0.6)
        child.kill()
        child.wait()
    played.play(*[pod(f"p{n}") for n in range(3)])
    assert sorted(played.running()) == ["p0/app", "p1/app", "p2/app"]
    assert played.names() == ["p0", "p1", "p2"]


def test_many_pods_come_up_together(played: Playing) -> None:
    played.play(deployment("many", 8), wait=60)
    assert len(played.running()) == 8


def execute(played: Playing, *command: str) -> None:
    from orlop.pod.exec_container import exec_sync

    assert exec_sync(played.pods, played.running()["web/app"].id, command, timeout=10).exit_code == 0


@contextlib.contextmanager
def grpc_server() -> Iterator[int]:
    """A health service on this machine's loopback, in a thread with a loop of its own."""
    ports: list[int] = []
    up, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with health(1) as port:
            ports.append(port)
            up.set()
            while not over.is_set():
                await asyncio.sleep(0.05)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(10)
    try:
        yield ports[0]
    finally:
        over.set()
        thread.join()


def test_after_a_reboot_everything_is_started_again(played: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next boot's supervisor runs in this process, which believes in another boot."""
    job = container("job", "echo done")
    played.play(pod("web"), pod("job", job, restartPolicy="Never"), wait=0)
    played.until(lambda: played.status("job").phase == "Succeeded" and played.status("web").ready)
    before = played.running()["web/app"]
    played.kill_supervisor()
    reboot(played.pods, [before.pid])
    monkeypatch.setattr("orlop.kit.node.boot_id", lambda: "the next boot")

    async def next_boot() -> None:
        ready = asyncio.Event()
        task = asyncio.create_task(supervise(played.node, played.config, ready=ready.set))
        await asyncio.wait_for(ready.wait(), 20)
        await asyncio.to_thread(played.until, lambda: played.status("web").ready)
        assert played.status("web").restarts == 1
        assert played.status("web").containers[0].last_reason == "Lost"
        assert played.status("job").phase == "Succeeded"
        await play_down(played.node, everything=True, wait=30)
        await start.stop(played.node)
        await task

    asyncio.run(next_boot())
