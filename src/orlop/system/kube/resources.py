"""Requests and limits as the kubelet turns them into cgroups and out-of-memory scores.

Follows: kubernetes, pkg/apis/core/v1/defaults.go (limits become requests), component-helpers/resource
(what a pod as a whole wants), pkg/kubelet/cm/helpers_linux.go (shares and limits of the pod's cgroup),
pkg/apis/core/v1/helper/qos, pkg/kubelet/qos/policy.go (oom_score_adj).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from orlop.runtime.model import Resources
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, Pod, ResourceRequirements
from orlop.system.kube.quantity import ZERO, Quantity

CPU, MEMORY, PIDS, DISK = "cpu", "memory", "pids", "ephemeral-storage"
HUGE = "hugepages-"
#: podman's annotation for the whole pod, or with `/<container>` for one container.
PIDS_ANNOTATION = "io.podman.annotations.pids-limit"

_LEAST_CPU = 2  # thousandths of a core: the smallest number of shares, for who requests nothing
_GUARANTEED_SCORE, _BEST_EFFORT_SCORE = -997, 1000
_QUALITY = (CPU, MEMORY)


def requests_of(resources: ResourceRequirements) -> Mapping[str, Quantity]:
    """The requests, where one that is not given is the limit."""
    return {**resources.limits, **resources.requests}


def container_resources(pod: Pod, container: Container, facts: Facts) -> Resources:
    """The container's cgroup."""
    limits, requests = container.resources.limits, requests_of(container.resources)
    return Resources(
        cpu_request=max(_LEAST_CPU, requests.get(CPU, ZERO).millis),
        cpu_limit=limits.get(CPU, ZERO).millis,
        memory_limit=limits.get(MEMORY, ZERO).units,
        memory_request=requests.get(MEMORY, ZERO).units,
        pids=_pids(pod, container),
        oom_score_adj=oom_score(pod, container, facts),
        hugepages=_hugepages(limits),
    )


def pod_resources(pod: Pod) -> Resources:
    """The pod's cgroup: limits only where every container has one, or the pod itself."""
    own = pod.spec.resources
    requests = _whole(pod, requests_of) | dict(requests_of(own))
    limits = _whole(pod, lambda each: each.limits)
    bounded = {
        name: amount
        for name, amount in limits.items()
        if all(name in each.resources.limits for each in pod.every_container)
    } | own.limits
    return Resources(
        cpu_request=max(_LEAST_CPU, requests.get(CPU, ZERO).millis),
        cpu_limit=bounded.get(CPU, ZERO).millis,
        memory_limit=bounded.get(MEMORY, ZERO).units,
        memory_request=requests.get(MEMORY, ZERO).units,
        pids=own.limits.get(PIDS, ZERO).units,
        hugepages=_hugepages(limits | own.limits),
    )


def quality(pod: Pod) -> str:
    """The QoS class: Guaranteed, Burstable or BestEffort."""
    own = pod.spec.resources
    if any(name in each for each in (own.limits, own.requests) for name in _QUALITY):
        parts = [own]
    else:
        parts = [each.resources for each in pod.every_container]
    named = [
        each[name].amount
        for part in parts
        for each in (part.limits, part.requests)
        for name in _QUALITY
        if name in each
    ]
    if not any(named):
        return "BestEffort"
    guaranteed = all(
        part.limits.get(name, ZERO).amount > 0 and requests_of(part)[name] == part.limits[name]
        for part in parts
        for name in _QUALITY
    )
    return "Guaranteed" if guaranteed else "Burstable"


def oom_score(pod: Pod, container: Container, facts: Facts) -> int:
    """oom_score_adj: who asked for less memory is killed earlier; a sidecar after those it serves."""
    own = _oom_score(pod, container, facts)
    if container.restart_policy == "Always" and container in pod.spec.init_containers:
        return min([own, *(_oom_score(pod, each, facts) for each in pod.spec.containers)])
    return own


def _oom_score(pod: Pod, container: Container, facts: Facts) -> int:
    kind = quality(pod)
    if kind == "Guaranteed":
        return _GUARANTEED_SCORE
    if kind == "BestEffort":
        return _BEST_EFFORT_SCORE
    memory = requests_of(container.resources).get(MEMORY, ZERO).units
    memory += _share_of_the_rest(pod)
    score = 1000 - 1000 * memory // max(1, facts.memory)
    return max(1000 + _GUARANTEED_SCORE, min(score, _BEST_EFFORT_SCORE - 1))


def _share_of_the_rest(pod: Pod) -> int:
    """What the pod requests as a whole beyond its containers, divided among them."""
    whole = requests_of(pod.spec.resources).get(MEMORY)
    if whole is None:
        return 0
    taken = _whole(pod, requests_of).get(MEMORY, ZERO).units
    return max(0, whole.units - taken) // max(1, len(list(pod.every_container)))


def _whole(pod: Pod, part: Callable[[ResourceRequirements], Mapping[str, Quantity]]) -> dict[str, Quantity]:
    """What the pod needs at its worst moment: all that run together, or one init container
    and the sidecars before it.
    """
    staying: list[Mapping[str, Quantity]] = []
    moments: list[dict[str, Quantity]] = []
    for each in pod.spec.init_containers:
        if each.restart_policy == "Always":
            staying.append(part(each.resources))
        else:
            moments.append(_sum([*staying, part(each.resources)]))
    moments.append(_sum([*staying, *(part(each.resources) for each in pod.spec.containers)]))
    names = {name for moment in moments for name in moment}
    return {name: max(moment.get(name, ZERO) for moment in moments) for name in names}


def _sum(parts: Iterable[Mapping[str, Quantity]]) -> dict[str, Quantity]:
    total: dict[str, Quantity] = {}
    for part in parts:
        for name, quantity in part.items():
            total[name] = Quantity(total.get(name, ZERO).amount + quantity.amount)
    return total


def _pids(pod: Pod, container: Container) -> int:
    """`limits.pids`, else podman's annotation for the container, else the one for the pod; 0: the node's."""
    if PIDS in container.resources.limits:
        return container.resources.limits[PIDS].units
    notes = pod.metadata.annotations
    text = notes.get(f"{PIDS_ANNOTATION}/{container.name}") or notes.get(PIDS_ANNOTATION, "")
    return int(text) if text.isdecimal() else 0


def _hugepages(limits: Mapping[str, Quantity]) -> dict[str, int]:
    """By page size in the form of the kernel's file names: `hugepages-2Mi` is 2MB."""
    sizes = {name.removeprefix(HUGE): quantity for name, quantity in limits.items() if name.startswith(HUGE)}
    return {size.removesuffix("i") + "B": quantity.units for size, quantity in sizes.items()}
