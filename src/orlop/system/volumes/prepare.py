"""Make a pod's volumes."""

from __future__ import annotations

from collections.abc import Mapping

from orlop.kit.node import Node
from orlop.system.kube.facts import Facts
from orlop.system.kube.model import Data, DesiredPod


def prepare(node: Node, desired: DesiredPod, data: Data, facts: Facts) -> Mapping[str, str]:
    """Every volume of the pod exists and is filled afterwards; returns volume name -> host path.

    Raises NotFound (a ConfigMap, Secret, key, claim or host path is absent), InvalidInput (a host path of
    another type, two items with the same path), Unavailable (the machine refuses: no space, no right).
    """
    raise AssertionError("under way")
