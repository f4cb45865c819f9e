"""play, play again, play less, take down: with real containers and a real supervisor process."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from orlop.kit.errors import NotFound
from orlop.system.explain import PodsFailed, PodsNotReady
from orlop.system.halt import halt
from orlop.system.kube.problem import InvalidDeclaration
from orlop.system.status import status
from tests.system.playing import CALM, Playing, config_map, container, deployment, pod

pytestmark = pytest.mark.host


def test_what_was_played_runs_and_is_gone_after_down(played: Playing) -> None:
    result = played.play(pod())
    (web,) = result.pods
    assert (web.phase, web.ready, web.restarts) == ("Running", True, 0)
    assert list(played.running()) == ["web/app"]
    assert web.ip
    played.down(pod())
    assert status(played.node, played.config) == []
    assert played.pods.sandboxes() == []


def test_the_same_file_again_changes_nothing(played: Playing) -> None:
    first = played.play(pod())
    before = played.running()
    began = time.monotonic()
    again = played.play(pod())
    assert time.monotonic() - began < 2
    assert first.plan and not again.plan
    assert played.running() == before


def test_only_the_pod_that_changed_is_replaced(played: Playing) -> None:
    played.play(pod("one"), pod("two"))
    before = played.running()
    changed = pod("two", container(script=f": changed; {CALM}"))
    result = played.play(pod("one"), changed)
    assert [(step.action, step.key) for step in result.plan.steps] == [("replace", "Pod/default/two")]
    after = played.running()
    assert after["one/app"].id == before["one/app"].id
    assert after["two/app"].id != before["two/app"].id
    assert played.names() == ["one", "two"]


def test_fewer_replicas_stop_the_others(played: Playing) -> None:
    played.play(deployment("web", 3))
    before = played.running()
    assert sorted(before) == ["web-0/app", "web-1/app", "web-2/app"]
    result = played.play(deployment("web", 1))
    assert [step.action for step in result.plan.steps] == ["remove", "remove"]
    assert played.running() == {"web-0/app": before["web-0/app"]}
    played.down(deployment("web", 1))
    assert played.names() == []


def test_what_a_file_does_not_declare_any_more_goes(played: Playing, tmp_path: Path) -> None:
    source = str(tmp_path / "app.yaml")
    played.play(pod("other"), source=str(tmp_path / "other.yaml"))
    played.play(pod("one"), pod("two"), source=source)
    played.play(pod("two"), source=source)
    assert played.names() == ["other", "two"]
    played.play(pod("piped"))
    assert played.names() == ["other", "piped", "two"]


def test_a_plan_alone_changes_nothing(played: Playing) -> None:
    result = played.play(pod(), plan_only=True)
    assert [step.action for step in result.plan.steps] == ["create"]
    assert played.names() == []
    assert not played.supervisor()


def test_a_pod_is_replaced_on_request(played: Playing) -> None:
    played.play(pod())
    before = played.running()["web/app"]
    played.play(pod(), replace=True)
    assert played.running()["web/app"].id != before.id


def test_files_of_a_config_map_change_in_place_and_variables_by_replacement(
    played: Playing, tmp_path: Path
) -> None:
    out = {"name": "out", "hostPath": {"path": str(tmp_path)}}
    file_reader = container(
        script="trap 'exit 0' TERM; while :; do cp /etc/app/key /out/seen; sleep 0.1; done",
        volumeMounts=[{"name": "conf", "mountPath": "/etc/app"}, {"name": "out", "mountPath": "/out"}],
    )
    volumes = [out, {"name": "conf", "configMap": {"name": "settings"}}]
    from_env = container(envFrom=[{"configMapRef": {"name": "settings"}}])
    pods = (pod("files", file_reader, volumes=volumes), pod("variables", from_env))
    played.play(config_map("settings", key="one"), *pods)
    before = played.running()
    played.until(lambda: (tmp_path / "seen").exists() and (tmp_path / "seen").read_text() == "one")
    result = played.play(config_map("settings", key="two"), *pods)
    actions = {step.key: step.action for step in result.plan.steps}
    assert actions == {
        "ConfigMap/default/settings": "update",
        "Pod/default/files": "update",
        "Pod/default/variables": "replace",
    }
    played.until(lambda: (tmp_path / "seen").read_text() == "two")
    after = played.running()
    assert after["files/app"].id == before["files/app"].id
    assert after["variables/app"].id != before["variables/app"].id


def test_data_of_a_claim_stay_until_volumes_go(played: Playing) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    writer = pod(
        "writer",
        container(script=f"date >> /data/log; {CALM}", volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    )
    played.play(claim, writer)
    kept = played.down(claim, writer).kept
    assert kept == ("PersistentVolumeClaim/default/data",)
    data = played.node.in_root("volumes", "default", "data", "data", "log")
    assert os.path.exists(data)
    played.play(claim, writer)
    played.until(lambda: Path(data).read_text().count("\n") == 2)
    played.down(claim, writer, volumes=True)
    assert not os.path.exists(played.node.in_root("volumes", "default", "data"))


def test_down_works_where_the_supervisor_is_dead(played: Playing) -> None:
    played.play(pod())
    played.kill_supervisor()
    played.down(pod())
    assert played.pods.sandboxes() == []


def test_down_by_name_and_down_twice(played: Playing) -> None:
    played.play(pod("one"), deployment("many", 2))
    played.down(names=["many"])
    assert played.names() == ["one"]
    played.down(pod("one"))
    assert not played.down(pod("one")).plan
    with pytest.raises(NotFound, match="was not played"):
        played.down(names=["one"])


def test_status_needs_no_supervisor(played: Playing) -> None:
    played.play(pod())
    played.kill_supervisor()
    assert played.status().ready
    container_id = played.running()["web/app"].id
    played.pods.engine.kill(container_id, "SIGKILL")
    played.until(lambda: not played.status().ready)
    played.start_supervisor()
    played.until(lambda: played.status().ready)
    assert played.status().restarts == 1


def test_playing_again_tells_the_truth_after_the_supervisor_and_a_container_died(played: Playing) -> None:
    played.play(pod())
    before = played.running()["web/app"]
    played.kill_supervisor()
    played.pods.engine.kill(before.id, "SIGKILL")
    played.pods.engine.wait(before.id, 10)
    (web,) = played.play(pod()).pods
    assert (web.ready, web.restarts) == (True, 1)
    assert played.running()["web/app"].id != before.id


# What cannot be done is explained


def test_a_file_that_is_wrong_changes_nothing(played: Playing) -> None:
    with pytest.raises(InvalidDeclaration):
        played.play(pod("web", container(nonsense=1)))
    with pytest.raises(InvalidDeclaration, match="settings"):
        played.play(pod("web", container(envFrom=[{"configMapRef": {"name": "settings"}}])))
    assert played.names() == []


def test_an_image_that_is_not_there_changes_nothing(played: Playing) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        played.play(pod("web", container(image="localhost:1/nowhere:1")))
    assert played.names() == []


def test_a_command_that_does_not_exist_is_explained(played: Playing) -> None:
    with pytest.raises(PodsFailed, match=r"(?s)default/web.*container app.*no-such-program"):
        played.play(pod("web", {**container(), "command": ["/no-such-program"]}))


def test_only_what_failed_is_said_to_have_failed(played: Playing) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    slow = pod("slow", container(readinessProbe=probe))
    bad = pod("bad", {**container(), "command": ["/no-such-program"]})
    with pytest.raises(PodsFailed) as caught:
        played.play(slow, bad)
    assert "default/bad" in str(caught.value) and "default/slow" not in str(caught.value)


def test_a_crash_is_explained_with_its_last_words(played: Playing) -> None:
    crash = container(script="echo the disk is on fire >&2; exit 3")
    played.play(pod("web", crash, restartPolicy="Never"), wait=0)
    played.until(lambda: played.status().phase == "Failed")
    with pytest.raises(PodsFailed, match=r"(?s)exit code 3.*the disk is on fire"):
        played.play(pod("web", crash, restartPolicy="Never"))


def test_a_pod_that_is_not_ready_in_time_is_explained(played: Playing) -> None:
    probe = {"exec": {"command": ["sh", "-c", "echo not yet; exit 1"]}, "periodSeconds": 1}
    with pytest.raises(PodsNotReady, match=r"(?s)ReadinessProbeFailed.*not yet"):
        played.play(pod("web", container(readinessProbe=probe)), wait=3)
    assert played.names() == ["web"]


def test_an_out_of_memory_kill_is_reported_as_such(played: Playing) -> None:
    hungry = container(script="tail /dev/zero", resources={"limits": {"memory": "16Mi"}})
    played.play(pod("web", hungry, restartPolicy="Never"), wait=0)
    played.until(lambda: played.status().phase == "Failed")
    assert "OOMKilled" in played.status().message


def test_a_completed_pod_stays_as_a_record_with_its_message(played: Playing) -> None:
    job = container(script="echo all is well > /dev/termination-log")
    played.play(pod("job", job, restartPolicy="OnFailure"))
    played.until(lambda: played.status("job").phase == "Succeeded")
    done = played.status("job")
    assert done.containers[0].message == "all is well"
    assert not played.play(pod("job", job, restartPolicy="OnFailure")).plan


def test_a_pod_that_is_stopped_by_hand_stays_so_until_it_is_played_again(played: Playing) -> None:
    played.play(pod())
    before = played.running()["web/app"]
    asyncio.run(halt(played.node, [played.status().uid], wait=20))
    assert played.status().phase == "Stopped"
    played.kill_supervisor()
    played.start_supervisor()
    time.sleep(0.3)
    assert played.running() == {}
    assert played.pods.container(before.id).state == "exited"
    result = played.play(pod())
    assert [step.action for step in result.plan.steps] == ["create"]
    assert played.running()["web/app"].id != before.id
    assert played.names() == ["web"]


def test_a_config_map_of_one_file_changes_the_pods_of_another(played: Playing, tmp_path: Path) -> None:
    settings, apps = str(tmp_path / "settings.yaml"), str(tmp_path / "apps.yaml")
    web = pod("web", container(envFrom=[{"configMapRef": {"name": "settings"}}]))
    played.play(config_map("settings", key="one"), source=settings)
    played.play(web, source=apps)
    before = played.running()["web/app"]
    result = played.play(config_map("settings", key="two"), source=settings)
    assert {step.key: step.action for step in result.plan.steps} == {
        "ConfigMap/default/settings": "update",
        "Pod/default/web": "replace",
    }
    played.until(lambda: played.status().ready and played.running()["web/app"].id != before.id)
    assert played.status().source == apps
    assert not played.play(web, source=apps).plan
