from __future__ import annotations

import pytest

from orlop.system.kube.model import Pod, from_json, to_json
from tests.system.kube.samples import config_map, declared, pod_yaml, problems


def only(*documents: str) -> str:
    found = problems(*documents)
    assert len(found) == 1, found
    return found[0]


def test_a_pod_gets_the_defaults_of_the_api() -> None:
    (pod,) = declared(pod_yaml("", "livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 0}")).pods
    probe = pod.spec.containers[0].liveness_probe
    assert probe is not None
    assert (probe.period_seconds, probe.timeout_seconds, probe.failure_threshold) == (10, 1, 3)
    assert pod.spec.restart_policy == "Always"
    assert pod.spec.termination_grace_period_seconds == 30
    assert pod.metadata.namespace == "default"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("localhost:5000/busybox", "Always"),
        ("busybox:1", "IfNotPresent"),
        ("busybox@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    (pod,) = declared(pod_yaml().replace("image: busybox", f"image: {image}")).pods
    assert pod.spec.containers[0].pull_policy == policy


def test_an_unknown_field_is_named_with_its_place_and_the_nearest_name() -> None:
    found = only(pod_yaml(container="commands: [x]"))
    assert found == (
        "document 1, line 10: spec.containers[0].commands: unknown field; did you mean `command`?"
    )


def test_an_unknown_field_that_is_like_none_lists_what_there_is() -> None:
    assert "known here: data" not in only(pod_yaml("zzz: 1"))
    assert "known here: activeDeadlineSeconds" in only(pod_yaml("zzz: 1"))


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ("command: sh", "command: expected a list, got the text 'sh'"),
        ("args: [1]", "args[0]: expected text, got the number 1 (put it in quotes)"),
        ("tty: 'yes'", "tty: expected true or false, got the text 'yes'"),
        (
            "env: [{name: A, value: on}]",
            "env[0].value: expected text, got the boolean true (put it in quotes)",
        ),
        ("ports: [{containerPort: '80'}]", "containerPort: expected a whole number, got the text '80'"),
        ("ports: [{containerPort: 1.5}]", "containerPort: expected a whole number, got the number 1.5"),
        ("ports: [{containerPort: 80, protocol: tcp}]", "expected one of SCTP, TCP, UDP, got the text 'tcp'"),
        ("env: {A: b}", "env: expected a list, got a mapping"),
        ("resources: [1]", "resources: expected a mapping, got a list"),
        ("resources: {limits: {cpu: 1x}}", "limits.cpu: expected a quantity"),
        ("resources: {limits: {cpu: yes}}", "limits.cpu: expected a quantity"),
        ("ports: [{}]", "ports[0].containerPort: is required"),
        ("ports: [null]", "ports[0]: expected a mapping, got nothing"),
        ("imagePullPolicy: Sometimes", "imagePullPolicy: expected one of Always, IfNotPresent, Never"),
        ('workingDir: "a\\0b"', "workingDir: expected text without NUL"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_was_expected(container: str, words: str) -> None:
    assert words in only(pod_yaml(container=container))


def test_all_problems_are_said_at_once() -> None:
    found = problems(
        pod_yaml("hostUsers: false\nrestartpolicy: x", "names: y"), "kind: Service\napiVersion: v1"
    )
    assert len(found) == 4
    assert "document 2, line 14: kind: 'Service' is not played" in found[3]


def test_harmless_fields_are_warnings_with_their_path() -> None:
    declaration = declared(pod_yaml("nodeSelector: {disk: ssd}\nserviceAccountName: robot"))
    assert [warning.path for warning in declaration.warnings] == [
        "document 1, line 6: spec.nodeSelector",
        "document 1, line 7: spec.serviceAccountName",
    ]
    assert all("has no effect" in warning.text for warning in declaration.warnings)


@pytest.mark.parametrize("value", ["", "null", "[]", "{}"])
def test_what_is_empty_is_as_if_it_were_absent(value: str) -> None:
    declaration = declared(pod_yaml(f"nodeSelector: {value}\nresourceClaims: {value}\nos: {{name: linux}}"))
    assert declaration.warnings == ()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("hostUsers: false", "spec.hostUsers"),
        ("runtimeClassName: kata", "spec.runtimeClassName"),
        ("os: {name: windows}", "spec.os"),
        ("resourceClaims: [{name: gpu}]", "spec.resourceClaims"),
        ("volumes: [{name: v, csi: {driver: x}}]", "spec.volumes[0].csi"),
        ("volumes: [{name: v, ephemeral: {}}, {name: w, nfs: {server: a, path: /}}]", "spec.volumes[1].nfs"),
        ("securityContext: {windowsOptions: {hostProcess: true}}", "spec.securityContext.windowsOptions"),
        ("securityContext: {seLinuxOptions: {level: s0}}", "spec.securityContext.seLinuxOptions"),
        (
            "securityContext: {appArmorProfile: {type: Localhost}}",
            "spec.securityContext.appArmorProfile.type",
        ),
        ("schedulingGates: [{name: x}]", "spec.schedulingGates"),
    ],
)
def test_what_would_run_something_else_is_refused(spec: str, path: str) -> None:
    found = only(pod_yaml(spec))
    assert f"{path}: " in found
    assert "is not supported: " in found


def test_a_list_is_taken_apart() -> None:
    items = "\n".join(
        "- " + line if not number else "  " + line for number, line in enumerate(pod_yaml().splitlines())
    )
    declaration = declared(f"apiVersion: v1\nkind: List\nitems:\n{items}")
    assert [pod.metadata.name for pod in declaration.pods] == ["web"]
    assert (
        "items[0].spec.containers[0].names"
        in problems(f"apiVersion: v1\nkind: List\nitems:\n{items.replace('name: main', 'names: main')}")[0]
    )


def test_namespaces_are_passed_over_with_a_warning() -> None:
    declaration = declared("apiVersion: v1\nkind: Namespace\nmetadata: {name: x}", pod_yaml())
    assert "Namespace has no effect" in declaration.warnings[0].text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Pod\nmetadata: {name: x}", "apiVersion: is required; write v1"),
        ("kind: Deployment\napiVersion: v1", "Deployment of 'v1' is not known; write apps/v1"),
        ("apiVersion: v1", "kind: is required"),
        ("- a", "expected an object"),
        ("just text", "expected an object"),
        ("", "declares nothing"),
        ("# only a comment", "declares nothing"),
    ],
)
def test_what_is_no_object_is_said_so(text: str, words: str) -> None:
    assert words in only(text)


def test_an_object_that_stands_twice_is_refused() -> None:
    assert "Pod default/web stands in line 4 already" in only(pod_yaml(), pod_yaml())
    assert problems(pod_yaml(), pod_yaml(metadata="name: web\nnamespace: other")) == ()


def test_a_pod_survives_json() -> None:
    (pod,) = declared(
        pod_yaml(
            "volumes: [{name: v, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}]\n"
            "hostPID: true\nsetHostnameAsFQDN: true",
            "resources: {limits: {cpu: 100m, memory: 1Gi}}\nlivenessProbe: {httpGet: {port: 80}}",
        )
    ).pods
    assert from_json(to_json(pod), Pod) == pod
    assert to_json(from_json(to_json(pod), Pod)) == to_json(pod)


def test_secrets_are_decoded_and_string_data_wins() -> None:
    (secret,) = declared(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
        "data:\n  a: aGVs\n  b: |\n    aGVs\n    bG8=\nstringData: {a: plain}"
    ).data.secrets
    assert dict(secret.entries) == {"a": b"plain", "b": b"hello"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Secret\ndata: {a: 'no base64!'}", "data.a: is not base64"),
        ("kind: Secret\ntype: kubernetes.io/tls\ndata: {}", 'data["tls.crt"]: is required'),
        ("kind: Secret\nstringData: {'../x': text}", "is no key"),
        ("kind: ConfigMap\ndata: {a: b}\nbinaryData: {a: Yg==}", "binaryData.a: stands in data too"),
        ("kind: ConfigMap\ndata: {a: 1}", "data.a: expected text, got the number 1"),
        (
            "kind: PersistentVolumeClaim\nspec: {resources: {requests: {storage: 1Gi}}}",
            "accessModes: is required",
        ),
        ("kind: PersistentVolumeClaim\nspec: {accessModes: [ReadWriteOnce]}", "storage: is required"),
        (
            "kind: PersistentVolumeClaim\nspec: {accessModes: [ReadWriteOnce], volumeMode: Block}",
            "volumeMode: expected one of Filesystem",
        ),
    ],
)
def test_the_other_objects_are_validated(text: str, words: str) -> None:
    assert any(words in each for each in problems(f"apiVersion: v1\nmetadata: {{name: x}}\n{text}"))


def test_a_null_in_a_config_map_is_empty_text() -> None:
    (found,) = declared(config_map("c", a="b").replace("'b'", "")).data.config_maps
    assert found.data == {"a": ""}
