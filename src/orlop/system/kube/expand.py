"""What is to run: pods of a declaration, a Deployment's replicas among them."""

from __future__ import annotations

from orlop.system.kube.model import Data, Declaration, DesiredPod


def pods_of(declaration: Declaration, data: Data) -> tuple[DesiredPod, ...]:
    """The desired pods, in the file's order; a Deployment `web` with 3 replicas gives `web-0` to `web-2`.

    `data` is what they draw from: the declaration's own objects merged over those played before. Names, uids
    and hashes depend on nothing else, so that the same file gives the same value.
    Raises InvalidDeclaration where a pod needs a ConfigMap, Secret, key or claim that is not declared and not
    optional, or where two pods have the same name or want the same host port.
    """
    raise AssertionError("under way")
