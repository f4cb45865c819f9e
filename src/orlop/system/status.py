"""The pods that are declared on a node, as they are; no supervisor is needed to ask."""

from __future__ import annotations

import os
import time

from orlop.kit.config import Config
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node
from orlop.system.records import PodRecord, Records
from orlop.system.supervise.absorb import absorb
from orlop.system.supervise.rules import pod_rule
from orlop.system.supervise.status import ContainerStatus, PodStatus, pod_status

__all__ = ["ContainerStatus", "PodStatus", "status"]


def status(node: Node, config: Config | None = None) -> list[PodStatus]:
    """All declared pods and those that are ending, in the order of their declaration.

    From the records; with `config`, corrected by what the pod layer sees at this moment, so that it is true
    also where no supervisor runs.
    """
    if not os.path.exists(node.in_root("system.db")):
        return []
    records = Records(node)
    try:
        return [_seen(node, record, config) for record in records.pods()]
    finally:
        records.close()


def status_of(record: PodRecord) -> PodStatus:
    """One pod's, as it is recorded."""
    return pod_status(record, pod_rule(record.uid, record.desired.pod), record.state, time.time())


def _seen(node: Node, record: PodRecord, config: Config | None) -> PodStatus:
    if config is None:
        return status_of(record)
    from orlop.pod.context import Pods
    from orlop.system.supervise.pod_layer import observe

    now, rule = time.time(), pod_rule(record.uid, record.desired.pod)
    try:
        state = absorb(rule, observe(Pods(node, config), node, record.uid), record.state, now)
    except OrlopError:
        state = record.state  # the best that can be said
    return pod_status(record, rule, state, now)
