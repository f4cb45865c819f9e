"""What is declared and what is recorded as resources of a plan, and the plan between the two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orlop.plan.difference import Change, difference
from orlop.plan.model import Plan, Resource
from orlop.system.kube.expand import references, rehashed
from orlop.system.kube.model import Data, DesiredPod
from orlop.system.kube.wire import to_json
from orlop.system.records import Object, ObjectRecord, PodRecord

STDIN = "-"
_CLAIM = "PersistentVolumeClaim"


@dataclass(frozen=True)
class Wanted:
    """What one `play` declares: everything by its key (`Pod/default/web`, `ConfigMap/default/settings`)."""

    pods: dict[str, DesiredPod]
    objects: dict[str, Object]
    owners: frozenset[str]  # of Deployments: their pods that are not among `pods` go


def pod_key(pod: DesiredPod) -> str:
    return f"Pod/{pod.namespace}/{pod.name}"


def object_key(value: Object) -> str:
    return f"{type(value).__name__}/{value.metadata.namespace}/{value.metadata.name}"


def objects_of(data: Data) -> dict[str, Object]:
    every: list[Object] = [*data.config_maps, *data.secrets, *data.claims]
    return {object_key(each): each for each in every}


def touched(records: Sequence[PodRecord], wanted: Wanted, data: Data) -> dict[str, DesiredPod]:
    """Pods of other files that draw from what changes: as they are with the new data."""
    found: dict[str, DesiredPod] = {}
    for record in records:
        key = pod_key(record.desired)
        if not record.wanted or key in wanted.pods or record.desired.owner in wanted.owners:
            continue
        now = rehashed(record.desired, data)
        if (now.content, now.volume_data) != (record.desired.content, record.desired.volume_data):
            found[key] = now
    return found


def plan_of(
    wanted: Wanted,
    pods: Sequence[PodRecord],
    objects: Sequence[ObjectRecord],
    *,
    source: str,
    again: bool = False,
) -> Plan:
    """The steps from what is recorded to what is wanted.

    What the same file declared before and does not any more goes, claims excepted: they hold data. A file
    without a name (standard input) only ever adds and changes. `again`: replace pods that do not differ, too.
    """
    declared = _resources(wanted.pods.values(), wanted.objects.values())
    former_pods, former_objects = [], []
    for record in pods:
        mine = record.source == source != STDIN or record.desired.owner in wanted.owners
        halted = record.halted and mine and pod_key(record.desired) not in declared
        if halted or (record.wanted and (mine or pod_key(record.desired) in declared)):
            former_pods.append(record.desired)
    for known in objects:
        mine = known.source == source != STDIN and known.kind != _CLAIM
        if mine or object_key(known.value) in declared:
            former_objects.append(known.value)
    actual = _resources(former_pods, former_objects)
    if again:
        actual = {key: _marked(resource) for key, resource in actual.items()}
    return difference(declared, actual, replace_when=_replaces, secret=_is_secret)


def removal(pods: Iterable[DesiredPod], objects: Iterable[Object]) -> Plan:
    """The steps that remove all of these, pods first."""
    return difference({}, _resources(pods, objects))


def _resources(pods: Iterable[DesiredPod], objects: Iterable[Object]) -> dict[str, Resource]:
    found: dict[str, Resource] = {}
    for value in objects:
        key = object_key(value)
        found[key] = Resource(key, {"content": hashlib.sha256(to_json(value)).hexdigest()})
    for pod in pods:
        key = pod_key(pod)
        needs = (f"{each.kind}/{pod.namespace}/{each.name}" for each in references(pod.pod))
        found[key] = Resource(
            key,
            {"content": pod.content, "pod": json.loads(to_json(pod.pod)), "volumes": pod.volume_data},
            after=tuple(sorted({need for need in needs if need in found})),
        )
    return found


def _marked(resource: Resource) -> Resource:
    if not resource.key.startswith("Pod/"):
        return resource
    return Resource(resource.key, {**resource.value, "content": "to be replaced"}, resource.after)


def _replaces(key: str, changes: Sequence[Change]) -> bool:
    """A pod takes over nothing but the files in its volumes."""
    return key.startswith("Pod/") and any(change.path != "volumes" for change in changes)


def _is_secret(key: str, path: str) -> bool:
    """Hashes say nothing to a reader, and a variable may hold a password."""
    return path in ("content", "volumes") or ".env[" in path
