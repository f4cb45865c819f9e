"""Play a Kubernetes file: what it declares becomes what is recorded, and the supervisor keeps it so.

    text -> Declaration -> plan (difference to the records) -> images pulled -> records changed, step by step
         -> supervisor started or told -> wait until the pods are ready

Killed at any point, it is finished by playing the file again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from orlop.image.pull import ImageSettings
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.kit.progress import Progress, Quiet
from orlop.kit.tasks import in_thread
from orlop.plan.apply import apply
from orlop.plan.journal import Journal
from orlop.plan.model import Plan, Step
from orlop.store.store import Store, StoreSettings
from orlop.system.kube.decode import decode
from orlop.system.kube.expand import pods_of
from orlop.system.kube.model import Data
from orlop.system.pull_images import pull_images
from orlop.system.records import ObjectRecord, Records
from orlop.system.resources import STDIN, Wanted, objects_of, plan_of, touched
from orlop.system.status import PodStatus, status_of
from orlop.system.supervise.control import call
from orlop.system.supervise.start import ensure_running
from orlop.system.wait import until_ready

SCOPE = "play"
_QUIET = Quiet()


@dataclass(frozen=True)
class PlayResult:
    """What was done, how the pods of this file are now, and what of it is not honoured but harmless."""

    plan: Plan
    pods: tuple[PodStatus, ...]
    warnings: tuple[str, ...]


async def play(
    node: Node,
    config: Config,
    text: bytes | str,
    *,
    source: str = STDIN,
    replace: bool = False,
    plan_only: bool = False,
    wait: float | None = None,
    progress: Progress = _QUIET,
) -> PlayResult:
    """Make what `text` declares, and what else its `source` (a path, or "-") declared before, as it says.

    Pods whose declaration differs are replaced, files in volumes are changed in place; `replace`: pods that
    do not differ are replaced, too. `plan_only`: change nothing. `wait`: seconds until the pods must be ready
    or have succeeded; 0: do not wait; None: wait without end.
    Raises InvalidDeclaration, what a pull raises (nothing is changed then), PlanFailed, and PodsFailed or
    PodsNotReady, after which everything stays declared.
    """
    source = source if source == STDIN else _absolute(source)
    raw = text.encode() if isinstance(text, str) else text
    declaration = await in_thread(decode, raw, source=source)
    warnings = tuple(f"{each.path}: {each.text}" for each in declaration.warnings)
    records = await in_thread(Records, node)
    known, objects = await in_thread(records.pods), await in_thread(records.objects)
    data = _data(objects, source).merged(declaration.data)
    pods = await in_thread(pods_of, declaration, data, source=source)
    wanted = Wanted(
        pods={f"Pod/{pod.key}": pod for pod in pods},
        objects=objects_of(declaration.data),
        owners=frozenset(
            f"Deployment/{each.metadata.namespace}/{each.metadata.name}" for each in declaration.deployments
        ),
    )
    others = touched(known, wanted, data)
    wanted.pods.update(others)
    plan = plan_of(wanted, known, objects, source=source, again=replace)
    own = [pod.key for pod in pods]
    if plan_only:
        now = [status_of(record) for record in known if record.wanted and record.key in own]
        return PlayResult(plan, tuple(now), warnings)
    if plan:
        await _pull(node, config, plan, wanted, data, progress)
        sources = {key: record.source for record in known if (key := f"Pod/{record.key}") in others}
        executor = _Declare(records, wanted, source, sources, anew=replace)
        await apply(plan, await in_thread(open_journal, node), executor, scope=SCOPE)
    if known or pods:
        await ensure_running(node)
        await call(node, "reconcile")
    gone = [step.key for step in plan.steps if step.action == "remove"]
    statuses = await until_ready(node, config, records, own, gone=gone, limit=wait)
    return PlayResult(plan, tuple(statuses), warnings)


def _absolute(source: str) -> str:
    return os.path.abspath(source)


def open_journal(node: Node) -> Journal:
    """The node's journal of plans: root's own, since payloads hold what was declared."""
    path = node.in_root("plans.db")
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
    return Journal(path)


async def _pull(
    node: Node, config: Config, plan: Plan, wanted: Wanted, data: Data, progress: Progress
) -> None:
    """The images of what is new or replaced, before anything is changed."""
    keys = [step.key for step in plan.steps if step.action in ("create", "replace")]
    pods = [wanted.pods[key] for key in keys if key in wanted.pods]
    if pods:
        store = Store(node, config.section("store", StoreSettings))
        settings = config.section("image", ImageSettings)
        await pull_images(node, pods, data, store, settings, progress)


class _Declare:
    """Carries out a play's steps: changes of the records, each harmless twice."""

    def __init__(
        self, records: Records, wanted: Wanted, source: str, sources: dict[str, str], *, anew: bool
    ) -> None:
        self._records = records
        self._wanted = wanted
        self._source = source
        self._sources = sources  # of pods that another file declared
        self._anew = anew

    async def carry_out(self, step: Step) -> None:
        await in_thread(self._carry_out, step)

    def _carry_out(self, step: Step) -> None:
        kind, namespace, name = step.key.split("/", 2)
        if step.action == "remove":
            if kind == "Pod":
                self._records.unwant_pod(namespace, name)
            else:
                self._records.remove_object(kind, namespace, name)
        elif kind == "Pod":
            anew = self._anew and step.action == "replace" and step.key not in self._sources
            source = self._sources.get(step.key, self._source)
            self._records.declare_pod(self._wanted.pods[step.key], source, time.time(), anew=anew)
        else:
            self._records.declare_object(self._wanted.objects[step.key], self._source)


def _data(objects: Sequence[ObjectRecord], source: str) -> Data:
    """What other files declared, and the claims of all: what this file declared before may be gone now."""
    kept = [
        record
        for record in objects
        if record.source != source or source == STDIN or record.kind == "PersistentVolumeClaim"
    ]
    return Data(
        config_maps=tuple(r.value for r in kept if r.kind == "ConfigMap"),  # type: ignore[misc]
        secrets=tuple(r.value for r in kept if r.kind == "Secret"),  # type: ignore[misc]
        claims=tuple(r.value for r in kept if r.kind == "PersistentVolumeClaim"),  # type: ignore[misc]
    )
