"""Whatever a file says, the answer is a declaration or an InvalidDeclaration that names the place."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.kit.errors import OrlopError
from orlop.system.kube.decode import decode
from orlop.system.kube.expand import pods_of
from orlop.system.kube.model import Declaration
from orlop.system.kube.problem import InvalidDeclaration
from orlop.system.kube.translate import container_config, sandbox_config
from tests.system.kube.samples import FACTS

EXAMPLES = Path(__file__).parents[3] / "examples"
RICH = """
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {a: b}, annotations: {c: d}}
  spec:
    hostname: front
    subdomain: sub
    setHostnameAsFQDN: true
    hostAliases: [{ip: 192.0.2.1, hostnames: [a]}]
    dnsConfig: {nameservers: [192.0.2.53], options: [{name: ndots, value: "2"}]}
    resources: {limits: {cpu: 2, memory: 1Gi, pids: 10}}
    securityContext: {fsGroup: 5, runAsNonRoot: true, sysctls: [{name: net.core.somaxconn, value: "9"}]}
    imagePullSecrets: [{name: s}]
    volumes:
    - {name: e, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
    - {name: h, hostPath: {path: /srv, type: Directory}}
    - {name: p, projected: {sources: [{secret: {name: s, items: [{key: t, path: x, mode: 256}]}}]}}
    - {name: d, downwardAPI: {items: [{path: l, fieldRef: {fieldPath: metadata.labels}}]}}
    initContainers: [{name: side, image: x, restartPolicy: Always, startupProbe: {grpc: {port: 1}}}]
    containers:
    - name: main
      image: x:1
      command: [a, $(E)]
      ports: [{name: http, containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1, protocol: UDP}]
      env:
      - {name: E, value: $(F)/x}
      - {name: G, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
      - {name: H, valueFrom: {secretKeyRef: {name: s, key: t}}}
      envFrom: [{prefix: P_, configMapRef: {name: c}}]
      resources: {limits: {cpu: 500m}, requests: {memory: 1Mi}}
      volumeMounts: [{name: e, mountPath: /e, subPathExpr: $(H)}]
      livenessProbe: {httpGet: {port: http, httpHeaders: [{name: A, value: b}]}, periodSeconds: 5}
      lifecycle: {preStop: {sleep: {seconds: 1}}, stopSignal: SIGUSR1}
      securityContext: {runAsUser: 5, capabilities: {add: [NET_ADMIN]}, seccompProfile: {type: Unconfined}}
      restartPolicy: OnFailure
      restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: shop}, data: {k: v}}
- {apiVersion: v1, kind: Secret, metadata: {name: s, namespace: shop}, stringData: {t: w}}
"""
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    "",
    "x",
    "..",
    "/",
    "$(",
    "\x7f",
    [],
    {},
    [None],
    {"x": None},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(below for key in keys for below in places(value[key], (*path, key)))]


def written(documents: list[Any]) -> bytes:
    return "\n---\n".join(map(json.dumps, documents)).encode()  # JSON is YAML


DOCUMENTS = yaml.safe_load(RICH)
PLACES = [place for place in places(DOCUMENTS) if place]


def translated(declaration: Declaration) -> None:
    for pod in pods_of(declaration, declaration.data):
        sandbox_config(pod, FACTS)
        volumes = {volume.name: "/v" for volume in pod.pod.spec.volumes}
        for container in pod.pod.every_container:
            container_config(pod, container, FACTS, declaration.data, volumes=volumes, image_user="5")


def test_the_rich_pod_is_taken() -> None:
    translated(decode(written(DOCUMENTS), source="rich.yaml"))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_an_odd_value_anywhere_is_taken_or_named(place: tuple[Any, ...], odd: object) -> None:
    documents = copy.deepcopy(DOCUMENTS)
    inner = documents
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = odd
    try:
        translated(decode(written(documents), source="odd.yaml"))
    except InvalidDeclaration as error:
        assert error.problems
    except OrlopError as error:
        assert error.subject.startswith("pod ")


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_taken_without_warnings_but_of_sizes(path: Path) -> None:
    declaration = decode(path.read_bytes(), source=str(path))
    translated(declaration)
    assert all("is recorded, not enforced" in warning.text for warning in declaration.warnings)
