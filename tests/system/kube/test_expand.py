from __future__ import annotations

from orlop.system.kube.expand import pods_of, rehashed
from orlop.system.kube.model import DesiredPod, from_json, to_json
from tests.system.kube.samples import claim, config_map, declared, desired, pod_yaml, problems, secret
from tests.system.kube.test_validate import DEPLOYMENT

USES = "env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]"
MOUNTS = "volumes: [{name: v, configMap: {name: c}}]"


def test_a_deployment_becomes_pods_with_stable_names() -> None:
    declaration = declared(DEPLOYMENT)
    pods = pods_of(declaration, declaration.data)
    assert [pod.key for pod in pods] == ["default/web-0", "default/web-1"]
    assert [pod.owner for pod in pods] == ["Deployment/default/web"] * 2
    assert pods[0].pod.metadata.labels == {"app": "web"}
    assert pods[0].uid != pods[1].uid
    assert pods == pods_of(declaration, declaration.data)


def test_more_replicas_leave_the_others_as_they_are() -> None:
    few, many = declared(DEPLOYMENT), declared(DEPLOYMENT.replace("replicas: 2", "replicas: 3"))
    assert pods_of(many, many.data)[:2] == pods_of(few, few.data)


def test_no_replicas_are_no_pods() -> None:
    none = declared(DEPLOYMENT.replace("replicas: 2", "replicas: 0"))
    assert pods_of(none, none.data) == ()


def test_another_specification_is_another_content() -> None:
    one, other = desired(pod_yaml()), desired(pod_yaml(container="tty: true"))
    assert one.uid == other.uid
    assert one.content != other.content


def test_the_same_written_differently_is_the_same_content() -> None:
    one = desired(pod_yaml(container="resources: {limits: {memory: 1Gi, cpu: 0.5}}"))
    other = desired(pod_yaml("restartPolicy: Always", "resources: {limits: {cpu: 500m, memory: 1024Mi}}"))
    assert one.content == other.content


def test_data_in_variables_changes_the_content() -> None:
    one = desired(pod_yaml(container=USES), config_map("c", k="1", other="1"))
    assert one.content != rehashed(one, declared(config_map("c", k="2", other="1")).data).content
    assert one == rehashed(one, declared(config_map("c", k="1", other="2")).data)


def test_data_in_volumes_changes_only_the_volume_data() -> None:
    one = desired(pod_yaml(MOUNTS, "volumeMounts: [{name: v, mountPath: /v}]"), config_map("c", k="1"))
    other = rehashed(one, declared(config_map("c", k="2")).data)
    assert one.content == other.content
    assert one.volume_data != other.volume_data


def test_data_mounted_by_sub_path_changes_the_content() -> None:
    text = pod_yaml(MOUNTS, "volumeMounts: [{name: v, mountPath: /v, subPath: k}]")
    one = desired(text, config_map("c", k="1"))
    assert one.content != rehashed(one, declared(config_map("c", k="2")).data).content


def test_what_a_pod_needs_must_be_declared() -> None:
    text = pod_yaml(
        "volumes: [{name: v, secret: {secretName: s, items: [{key: k, path: p}]}},"
        " {name: w, persistentVolumeClaim: {claimName: c}}]",
        USES,
    )
    assert problems(text) == (
        "pod default/web: there is no ConfigMap default/c; declare it, or make it optional",
        "pod default/web: there is no Secret default/s; declare it, or make it optional",
        "pod default/web: there is no PersistentVolumeClaim default/c; declare it, or make it optional",
    )
    assert problems(text, config_map("c", x="y"), secret("s", z="y"), claim("c")) == (
        "pod default/web: there is no key 'k' in ConfigMap default/c",
        "pod default/web: there is no key 'k' in Secret default/s",
    )


def test_what_is_optional_may_be_absent() -> None:
    text = pod_yaml(
        "volumes: [{name: v, secret: {secretName: s, optional: true}}]",
        "envFrom: [{configMapRef: {name: c, optional: true}}]",
    )
    assert problems(text) == ()


def test_what_was_played_before_counts() -> None:
    before = declared(config_map("c", k="old"), config_map("d", k="1")).data
    now = declared(pod_yaml(container=USES), config_map("d", k="2"))
    merged = before.merged(now.data)
    assert len(pods_of(now, merged)) == 1
    found = merged.config_map("default", "d")
    assert found is not None
    assert found.data == {"k": "2"}


def test_two_pods_cannot_have_the_same_host_port() -> None:
    ports = "ports: [{containerPort: 80, hostPort: 8080%s}]"
    one = pod_yaml(container=ports % "", metadata="name: one")
    assert (
        "host port 8080/TCP is taken by pod default/one"
        in problems(one, pod_yaml(container=ports % ", hostIP: 127.0.0.1", metadata="name: two"))[0]
    )
    local = [
        pod_yaml(container=ports % f", hostIP: 127.0.0.{n}", metadata=f"name: p{n}") for n in range(1, 3)
    ]
    assert problems(*local) == ()
    replicas = DEPLOYMENT.replace("image: busybox", "image: x, ports: [{containerPort: 1, hostPort: 2}]")
    assert "host port 2/TCP is taken by pod default/web-0" in problems(replicas)[0]


def test_a_pod_and_a_replica_cannot_have_the_same_name() -> None:
    found = problems(pod_yaml(metadata="name: web-0"), DEPLOYMENT)
    assert found == ("pod default/web-0: Pod/default/web-0 and Deployment/default/web both make it",)


def test_a_desired_pod_survives_json() -> None:
    pod = desired(pod_yaml())
    assert from_json(to_json(pod), DesiredPod) == pod
