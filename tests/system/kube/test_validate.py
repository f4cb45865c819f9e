from __future__ import annotations

import pytest

from orlop.kit import limits
from tests.system.kube.samples import claim, config_map, declared, pod_yaml, problems

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: busybox}]
"""


def only(text: str) -> str:
    found = problems(text)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ("ports: [{containerPort: 0}]", "expected a number from 1 to 65535, got 0"),
        ("ports: [{containerPort: 80, hostPort: 65536}]", "expected a number from 0 to 65535, got 65536"),
        ("ports: [{containerPort: 80, name: HTTP}]", "'HTTP' is no port's name"),
        ("ports: [{containerPort: 80, hostIP: here}]", "'here' is no IP address"),
        ("ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]", "'a' stands twice"),
        ("ports: [{containerPort: 80, hostPort: 1}, {containerPort: 81, hostPort: 1}]", "1/TCP stands twice"),
        ("env: [{name: 'A=B'}]", "is no variable's name"),
        ("env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]", "both given"),
        ("env: [{name: A, valueFrom: {}}]", "expected one of fieldRef, resourceFieldRef"),
        ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.nope}}}]", "'spec.nope' is not available"),
        ("env: [{name: A, valueFrom: {resourceFieldRef: {resource: cpu}}}]", "is not limits. or requests."),
        ("envFrom: [{prefix: A}]", "expected one of configMapRef, secretRef"),
        ("volumeMounts: [{name: v, mountPath: /v}]", "there is no volume 'v' in spec.volumes"),
        ("resources: {limits: {cpu: 1}, requests: {cpu: 2}}", "2 is more than the limit, 1"),
        ("resources: {limits: {memory: -1}}", "must not be negative"),
        ("resources: {limits: {nvidia.com/gpu: 1}}", "is not supported; resources here are cpu"),
        ("resources: {requests: {hugepages-2Mi: 4Mi}}", "must equal the limit"),
        ("livenessProbe: {}", "expected one of exec, httpGet, tcpSocket, grpc"),
        ("livenessProbe: {exec: {command: [x]}, grpc: {port: 1}}", "got exec and grpc"),
        ("livenessProbe: {exec: {}}", "livenessProbe.exec.command: is required"),
        ("livenessProbe: {tcpSocket: {port: http}}", "this container has no port named 'http'"),
        ("livenessProbe: {tcpSocket: {port: 1}, periodSeconds: -1}", "expected a number from 1 to"),
        ("livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}", "must be 1 in a livenessProbe"),
        (
            "readinessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 2}",
            "is not for a readiness",
        ),
        ("livenessProbe: {httpGet: {port: 80, httpHeaders: [{name: 'a b'}]}}", "is no HTTP header's name"),
        ("lifecycle: {preStop: {}}", "expected one of exec, httpGet, tcpSocket, sleep"),
        ("lifecycle: {stopSignal: TERM}", "'TERM' is no signal"),
        ("securityContext: {privileged: true, allowPrivilegeEscalation: false}", "where privileged is true"),
        (
            "securityContext: {capabilities: {add: [SYS_ADMIN]}, allowPrivilegeEscalation: false}",
            "SYS_ADMIN",
        ),
        ("securityContext: {capabilities: {add: ['NET ADMIN']}}", "is no capability"),
        ("securityContext: {runAsUser: -1}", "expected a number from 0 to 2147483647"),
        ("securityContext: {seccompProfile: {type: Localhost}}", "is no relative path"),
        (
            "securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../x}}",
            "must not hold ..",
        ),
        ("securityContext: {seccompProfile: {type: Unconfined, localhostProfile: x}}", "for type Localhost"),
        (
            "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]",
            "is required with",
        ),
        ("terminationMessagePath: log", "is not absolute"),
    ],
)
def test_containers_are_validated_as_the_api_server_does(container: str, words: str) -> None:
    assert words in only(pod_yaml(container=container))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("terminationGracePeriodSeconds: -1", "terminationGracePeriodSeconds: expected a number from 0"),
        ("activeDeadlineSeconds: 0", "activeDeadlineSeconds: expected a number from 1"),
        ("hostPID: true\nshareProcessNamespace: true", "contradicts hostPID"),
        ("hostname: a.b", "spec.hostname: 'a.b' is no name"),
        ("hostnameOverride: a\nhostNetwork: true", "contradicts hostnameOverride"),
        ("hostAliases: [{ip: x, hostnames: [a]}]", "'x' is no IP address"),
        ("hostAliases: [{ip: 1.2.3.4}]", "hostnames: is required"),
        ("dnsPolicy: None", "is required with dnsPolicy None"),
        ("dnsPolicy: Nope", "dnsPolicy: expected one of"),
        ("dnsConfig: {nameservers: [1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4]}", "are more than 3"),
        ("dnsConfig: {nameservers: [x]}", "'x' is no IP address"),
        ("securityContext: {sysctls: [{name: vm.swappiness, value: '1'}]}", "belongs to the whole machine"),
        (
            "securityContext: {sysctls: [{name: kernel.core_pattern, value: x}]}",
            "belongs to the whole machine",
        ),
        ("securityContext: {sysctls: [{name: net.x, value: 'a+b'}]}", "without +"),
        (
            "hostNetwork: true\nsecurityContext: {sysctls: [{name: net.core.somaxconn, value: '1'}]}",
            "hostNetwork is set",
        ),
        ("securityContext: {supplementalGroupsPolicy: Loose}", "expected one of"),
        ("resources: {limits: {ephemeral-storage: 1Gi}}", "is not supported; resources here are cpu"),
        ("volumes: [{name: V}]", "'V' is no name"),
        ("volumes: [{name: v}, {name: v}]", "'v' stands twice"),
        ("volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]", "has more than one source"),
        ("volumes: [{name: v, emptyDir: {medium: Disk}}]", "expected Memory"),
        ("volumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]", "is not supported"),
        ("volumes: [{name: v, hostPath: {path: x}}]", "is not absolute"),
        ("volumes: [{name: v, hostPath: {path: /x/../y}}]", "must not hold .."),
        ("volumes: [{name: v, hostPath: {path: /x, type: Folder}}]", "expected one of"),
        (
            "volumes: [{name: v, projected: {sources: [{}]}}]",
            "expected one of configMap, secret, downwardAPI",
        ),
        (
            "volumes: [{name: v, downwardAPI: {items: [{path: ../x, fieldRef: {fieldPath: metadata.uid}}]}}]",
            "must not hold ..",
        ),
        (
            "volumes: [{name: v, downwardAPI: {items: [{path: x, fieldRef: {fieldPath: status.podIP}}]}}]",
            "'status.podIP' is not available here",
        ),
        (
            "volumes: [{name: v,downwardAPI: {items: [{path: a,resourceFieldRef: {resource: limits.cpu}}]}}]",
            "containerName must name a container",
        ),
        (
            "initContainers: [{name: i, image: x, livenessProbe: {tcpSocket: {port: 1}}}]",
            "is not for init containers that end",
        ),
        ("initContainers: [{name: main, image: x}]", "'main' stands twice"),
        ("initContainers: [{name: i}]", "initContainers[0].image: is required"),
    ],
)
def test_pods_are_validated_as_the_api_server_does(spec: str, words: str) -> None:
    assert any(words in each for each in problems(pod_yaml(spec))), problems(pod_yaml(spec))


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("mountPath: v", "is not absolute"),
        ("mountPath: /", "is no place for a volume"),
        ("mountPath: /a/../b", "is no place for a volume"),
        ("mountPath: /v, subPath: ../x", "must not hold .."),
        ("mountPath: /v, subPath: /x", "is no relative path"),
        ("mountPath: /v, subPath: a, subPathExpr: b", "both given"),
        ("mountPath: /v, subPathExpr: $(NOPE)", "there is no variable 'NOPE'"),
        ("mountPath: /v, mountPropagation: Bidirectional", "is for privileged containers"),
        ("mountPath: /v, recursiveReadOnly: Always", "expected one of"),
        ("mountPath: /v, recursiveReadOnly: Enabled", "is for mounts with readOnly"),
        (
            "mountPath: /v, readOnly: true, recursiveReadOnly: Enabled, mountPropagation: HostToContainer",
            "is for mounts without mountPropagation",
        ),
    ],
)
def test_mounts_are_validated_as_the_api_server_does(mount: str, words: str) -> None:
    text = pod_yaml("volumes: [{name: v}]", f"volumeMounts: [{{name: v, {mount}}}]")
    assert words in only(text)


def test_two_mounts_at_one_place_are_refused() -> None:
    mounts = "volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v/}]"
    assert "'/v' stands twice" in only(pod_yaml("volumes: [{name: v}]", mounts))


def test_a_sidecar_may_have_probes() -> None:
    sidecar = "{name: s, image: x, restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}}}"
    assert problems(pod_yaml(f"initContainers: [{sidecar}]")) == ()


@pytest.mark.parametrize("name", ["Web", "-web", "web_1", "a" * 254, "a..b", "../web", "a/b"])
def test_names_are_those_of_dns(name: str) -> None:
    assert "is no name" in only(pod_yaml(metadata=f"name: {name!r}"))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("name: web\nnamespace: A", "metadata.namespace: 'A' is no name"),
        ("name: web\nlabels: {'a b': c}", "is no key"),
        ("name: web\nlabels: {a: 'b c'}", "is no label's value"),
        ("name: web\nannotations: {'a/b/c': d}", "is no key"),
        ("labels: {a: b}", "metadata.name: is required"),
        ("generateName: web-", "metadata.generateName: is not supported"),
    ],
)
def test_metadata_is_validated(metadata: str, words: str) -> None:
    assert any(words in each for each in problems(pod_yaml(metadata=metadata)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("labels: {app: web}", "labels: {app: shop}", "are not those that spec.selector wants"),
        ("selector: {matchLabels: {app: web}}", "selector: {}", "it must select the template's pods"),
        ("replicas: 2", "replicas: -1", "expected a number from 0 to"),
        ("replicas: 2", f"replicas: {limits.REPLICAS + 1}", "expected a number from 0 to"),
        ("containers:", "restartPolicy: Never\n      containers:", "is Always in a Deployment"),
        ("replicas: 2", "paused: true", "spec.paused: is not supported"),
        ("image: busybox", "image: busybox, nme: x", "spec.template.spec.containers[0].nme: unknown field"),
    ],
)
def test_deployments_are_validated(old: str, new: str, words: str) -> None:
    assert words in only(DEPLOYMENT.replace(old, new))


def test_a_selector_may_have_expressions() -> None:
    text = DEPLOYMENT.replace(
        "matchLabels: {app: web}",
        "matchExpressions: [{key: app, operator: In, values: [web, x]}, {key: z, operator: DoesNotExist}]",
    )
    assert problems(text) == ()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (pod_yaml("dnsPolicy: ClusterFirst"), "spec.dnsPolicy"),
        (pod_yaml("volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]"), "spec.volumes[0].emptyDir.sizeLimit"),
        (
            pod_yaml(container="resources: {limits: {ephemeral-storage: 1Gi}}"),
            "spec.containers[0].resources.limits.ephemeral-storage",
        ),
        (claim("c"), "spec.resources.requests.storage"),
        (
            pod_yaml(container="securityContext: {appArmorProfile: {type: RuntimeDefault}}"),
            "spec.containers[0].securityContext.appArmorProfile.type",
        ),
    ],
)
def test_what_is_honoured_in_part_gives_a_warning(text: str, path: str) -> None:
    (warning,) = declared(text).warnings
    assert warning.path.endswith(f": {path}")


def test_the_defaults_give_no_warning() -> None:
    assert declared(pod_yaml(), config_map("c", a="b")).warnings == ()
