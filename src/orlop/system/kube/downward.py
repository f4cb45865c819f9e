"""The downward API: what a pod can learn of itself, as variables and as files.

Follows: kubernetes, pkg/fieldpath, pkg/api/v1/resource ("ExtractContainerResourceValue").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from fractions import Fraction

from orlop.kit.errors import InvalidInput
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Container, DesiredPod
from orlop.system.kube.quantity import ZERO, Quantity
from orlop.system.kube.resources import CPU, DISK, HUGE, MEMORY, requests_of
from orlop.system.kube.volume_model import ResourceFieldRef

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_BOTH = ("metadata.name", "metadata.namespace", "metadata.uid")
_VARIABLES = (
    *_BOTH,
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_FILES = (*_BOTH, "metadata.labels", "metadata.annotations")
_CPU_DIVISORS = (Fraction(1), Fraction(1, 1000))
_DIVISORS = (
    Fraction(1),
    *(Fraction(1000**power) for power in range(1, 7)),
    *(Fraction(1024**power) for power in range(1, 7)),
)


def check_field(path: str, *, volume: bool) -> str:
    """What is wrong with a fieldPath, or ""."""
    known = _FILES if volume else _VARIABLES
    if path in known or _SUBSCRIPT.fullmatch(path):
        return ""
    return f"{path!r} is not available here; {', '.join(known)}, metadata.labels['<key>'] and annotations are"


def check_resource(ref: ResourceFieldRef) -> str:
    """What is wrong with a resourceFieldRef, or ""."""
    kind, _, name = ref.resource.partition(".")
    if kind not in ("limits", "requests") or not (name in (CPU, MEMORY, DISK) or name.startswith(HUGE)):
        return (
            f"resource {ref.resource!r} is not limits. or requests.cpu, memory, ephemeral-storage, hugepages"
        )
    if ref.divisor is None or ref.divisor == ZERO:
        return ""
    if ref.divisor.amount in (_CPU_DIVISORS if name == CPU else _DIVISORS):
        return ""
    return f"divisor {ref.divisor} does not fit {name}"


def field(desired: DesiredPod, facts: Facts, path: str) -> str:
    """The value of a fieldPath; "" for a label or an annotation that is not there, as in Kubernetes."""
    metadata = desired.pod.metadata
    if subscript := _SUBSCRIPT.fullmatch(path):
        labels = metadata.labels if subscript[1] == "labels" else metadata.annotations
        return labels.get(subscript[2], "")
    values = {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": desired.uid,
        "metadata.labels": _lines(metadata.labels),
        "metadata.annotations": _lines(metadata.annotations),
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": desired.pod.spec.service_account_name or "default",
        "status.hostIP": next(iter(facts.host_ips), ""),
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": next(iter(facts.pod_ips), ""),
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path not in values:
        raise InvalidInput(f"pod {desired.key}", f"there is no field {path}", hint="see docs/play.md")
    return values[path]


def resource(desired: DesiredPod, container: Container, ref: ResourceFieldRef, facts: Facts) -> str:
    """The value of a resourceFieldRef, divided and rounded up; a limit that is not set is the machine's."""
    if ref.container_name:
        container = next(each for each in desired.pod.every_container if each.name == ref.container_name)
    kind, _, name = ref.resource.partition(".")
    given = container.resources.limits if kind == "limits" else requests_of(container.resources)
    machine = {CPU: Quantity(Fraction(facts.cpu, 1000)), MEMORY: Quantity(Fraction(facts.memory))}
    amount = given.get(name) or (machine.get(name) if kind == "limits" else None) or ZERO
    divisor = ref.divisor.amount if ref.divisor and ref.divisor.amount else Fraction(1)
    return str(-(-amount.amount // divisor))


def _lines(labels: Mapping[str, str]) -> str:
    """One `key="value"` a line, sorted, as the kubelet writes labels into a file."""
    return "\n".join(f"{key}={json.dumps(labels[key], ensure_ascii=False)}" for key in sorted(labels))
