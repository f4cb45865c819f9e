"""Take away what a file declared, or pods by name, or everything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from orlop.kit.errors import NotFound
from orlop.kit.node import Node
from orlop.kit.tasks import in_thread
from orlop.plan.apply import apply
from orlop.plan.model import Plan, Step
from orlop.system import volumes as pod_volumes
from orlop.system.kube.decode import decode
from orlop.system.play import open_journal
from orlop.system.records import Object, PodRecord, Records
from orlop.system.resources import STDIN, object_key, objects_of, pod_key, removal
from orlop.system.supervise.control import call
from orlop.system.supervise.start import ensure_running
from orlop.system.wait import until_gone

SCOPE = "play --down"
_CLAIM = "PersistentVolumeClaim"


@dataclass(frozen=True)
class DownResult:
    """What was removed; `kept` are claims whose data stay (`volumes` removes them)."""

    plan: Plan
    kept: tuple[str, ...]


async def play_down(
    node: Node,
    text: bytes | str | None = None,
    *,
    source: str = STDIN,
    names: Sequence[str] = (),
    everything: bool = False,
    volumes: bool = False,
    wait: float | None = None,
) -> DownResult:
    """Remove what `text` declares, the pods `names` (`web`, `namespace/web`, a Deployment's name), or all.

    Ends when the pods are gone; their grace periods are kept. A supervisor is started where none runs.
    `volumes`: claims go with their data. What is not there is fine, unless it was asked for by name
    (NotFound). Raises InvalidDeclaration, TimedOut after `wait` seconds, PlanFailed.
    """
    if not await in_thread(os.path.exists, node.in_root("system.db")):
        if names:
            raise _unknown(names[0])
        return DownResult(Plan(), ())
    records = await in_thread(Records, node)
    pods, objects = await in_thread(_selected, records, text, source, names, everything)
    kept = [value for value in objects if type(value).__name__ == _CLAIM and not volumes]
    objects = [value for value in objects if value not in kept]
    plan = removal([record.desired for record in pods], objects)
    if plan:
        for record in pods:  # all begin to end at once; the steps then wait for each
            await in_thread(records.unwant_pod, record.desired.namespace, record.desired.name)
        if pods:
            await ensure_running(node)
            await call(node, "reconcile")
        executor = _Remove(node, records, pods, wait)
        journal = await in_thread(open_journal, node)
        await apply(plan, journal, executor, scope=SCOPE, parallel=len(plan.steps))
    return DownResult(plan, tuple(object_key(value) for value in kept))


class _Remove:
    """Carries out removals: a pod's is done when it is gone."""

    def __init__(self, node: Node, records: Records, pods: Sequence[PodRecord], wait: float | None) -> None:
        self._node = node
        self._records = records
        self._uids: dict[str, list[str]] = {}
        for record in pods:
            self._uids.setdefault(pod_key(record.desired), []).append(record.uid)
        self._wait = wait

    async def carry_out(self, step: Step) -> None:
        kind, namespace, name = step.key.split("/", 2)
        if kind == "Pod":
            await until_gone(self._node, self._records, self._uids[step.key], limit=self._wait)
            return
        if kind == _CLAIM:
            await in_thread(pod_volumes.remove_claim, self._node, namespace, name)
        await in_thread(self._records.remove_object, kind, namespace, name)


def _selected(
    records: Records, text: bytes | str | None, source: str, names: Sequence[str], everything: bool
) -> tuple[list[PodRecord], list[Object]]:
    """The incarnations and objects that are meant, those that are ending already included."""
    pods = records.pods()
    objects = {object_key(record.value): record.value for record in records.objects()}
    if everything:
        return pods, list(objects.values())
    if text is None:
        for name in names:
            if not any(_called(record, name) for record in pods):
                raise _unknown(name)
        return [record for record in pods if any(_called(record, name) for name in names)], []
    raw = text.encode() if isinstance(text, str) else text
    declaration = decode(raw, source=source)
    owners = {f"Pod/{p.metadata.namespace}/{p.metadata.name}" for p in declaration.pods}
    owners |= {f"Deployment/{d.metadata.namespace}/{d.metadata.name}" for d in declaration.deployments}
    keys = objects_of(declaration.data)
    return (
        [record for record in pods if record.desired.owner in owners],
        [value for key, value in objects.items() if key in keys],
    )


def _called(record: PodRecord, name: str) -> bool:
    """Whether the pod, or the Deployment that it belongs to, is called so."""
    _, namespace, owner = record.desired.owner.split("/", 2)
    known = {record.desired.name, record.key, owner, f"{namespace}/{owner}"}
    return name in known


def _unknown(name: str) -> NotFound:
    return NotFound(f"pod {name}", "was not played on this node", hint="see: orlop pod list")
