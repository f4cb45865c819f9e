from __future__ import annotations

import pytest

from orlop.runtime.model import Resources
from orlop.system.kube.resources import container_resources, oom_score, pod_resources, quality
from tests.system.kube.samples import FACTS, desired, main, pod_yaml

GIB = 1 << 30


def of_container(container: str, **more: str) -> Resources:
    pod = desired(pod_yaml(container=container, **more))
    return container_resources(pod.pod, main(pod), FACTS)


def test_limits_become_requests() -> None:
    found = of_container("resources: {limits: {cpu: 500m, memory: 1Gi}}")
    assert (found.cpu_request, found.cpu_limit) == (500, 500)
    assert (found.memory_request, found.memory_limit) == (GIB, GIB)


def test_who_requests_no_cpu_has_the_smallest_share() -> None:
    assert of_container("").cpu_request == 2
    assert of_container("resources: {requests: {cpu: 1m}}").cpu_request == 2


@pytest.mark.parametrize(
    ("container", "annotations", "pids"),
    [
        ("resources: {limits: {pids: 100}}", "{}", 100),
        ("", "{io.podman.annotations.pids-limit: '50'}", 50),
        ("", "{io.podman.annotations.pids-limit: '50', io.podman.annotations.pids-limit/main: '20'}", 20),
        ("", "{io.podman.annotations.pids-limit: 'many'}", 0),
        ("", "{}", 0),
    ],
)
def test_process_limits_have_three_places(container: str, annotations: str, pids: int) -> None:
    assert of_container(container, metadata=f"name: web\nannotations: {annotations}").pids == pids


def test_huge_pages_are_named_as_the_kernel_does() -> None:
    found = of_container("resources: {limits: {hugepages-2Mi: 4Mi, memory: 1Gi}}")
    assert dict(found.hugepages) == {"2MB": 4 << 20}


@pytest.mark.parametrize(
    ("container", "spec", "kind", "score"),
    [
        ("", "", "BestEffort", 1000),
        ("resources: {limits: {cpu: 1, memory: 1Gi}}", "", "Guaranteed", -997),
        ("resources: {limits: {memory: 1Gi}}", "", "Burstable", 875),
        ("resources: {requests: {cpu: 1}}", "", "Burstable", 999),
        ("resources: {requests: {memory: 100Gi}}", "", "Burstable", 3),
        ("", "resources: {limits: {cpu: 1, memory: 2Gi}}", "Guaranteed", -997),
        ("", "resources: {requests: {memory: 2Gi}}", "Burstable", 750),
    ],
)
def test_quality_of_service_is_the_kubelets(container: str, spec: str, kind: str, score: int) -> None:
    pod = desired(pod_yaml(spec, container))
    assert quality(pod.pod) == kind
    assert oom_score(pod.pod, main(pod), FACTS) == score


def test_a_sidecar_is_killed_after_those_it_serves() -> None:
    sidecar = (
        "initContainers: [{name: s, image: x, restartPolicy: Always, resources: {requests: {memory: 1Mi}}}]"
    )
    pod = desired(pod_yaml(sidecar, "resources: {requests: {memory: 4Gi}}"))
    assert oom_score(pod.pod, pod.pod.sidecars[0], FACTS) == 500


def test_a_pod_is_limited_where_all_its_containers_are() -> None:
    other = "- {name: o, image: x, resources: {limits: {memory: 1Gi}, requests: {cpu: 100m}}}"
    text = pod_yaml(container="resources: {limits: {memory: 1Gi, cpu: 1}}") + f"  {other}\n"
    found = pod_resources(desired(text).pod)
    assert (found.memory_limit, found.cpu_limit, found.cpu_request) == (2 * GIB, 0, 1100)


def test_a_pod_needs_what_its_worst_moment_needs() -> None:
    init = """
    initContainers:
    - {name: s, image: x, restartPolicy: Always, resources: {limits: {memory: 1Gi}}}
    - {name: i, image: x, resources: {limits: {memory: 5Gi}}}
    """
    found = pod_resources(desired(pod_yaml(init, "resources: {limits: {memory: 2Gi}}")).pod)
    assert found.memory_limit == 6 * GIB


def test_a_pods_own_limits_outrank_the_sum() -> None:
    spec = "resources: {limits: {memory: 1Gi, pids: 7}}"
    found = pod_resources(desired(pod_yaml(spec, "resources: {requests: {memory: 100Mi}}")).pod)
    assert (found.memory_limit, found.memory_request, found.pids) == (GIB, GIB, 7)
