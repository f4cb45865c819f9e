"""imagePullSecrets: who asks a registry for a pod's images."""

from __future__ import annotations

import json
import os

from orlop.image.auth import Credentials, find
from orlop.image.reference import Reference
from orlop.system.kube.model import Data, DesiredPod

_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


def credentials(desired: DesiredPod, data: Data, image: str) -> Credentials | None:
    """Those of the first secret that knows the image's registry; None: ask as the node does.

    A secret that is not declared is passed over, as a kubelet does: the pull may succeed without it.
    Raises InvalidInput where a secret's entry is malformed.
    """
    reference = Reference.parse(image)
    for ref in desired.pod.spec.image_pull_secrets:
        secret = data.secret(desired.namespace, ref.name)
        key = "" if secret is None else _KEYS.get(secret.type, "")
        if secret is None or key not in secret.entries:
            continue
        document = json.loads(secret.entries[key])
        auths = document if key == ".dockercfg" else document.get("auths", {})
        found = _find(reference, {"auths": auths})  # never its helpers: those are programs
        if found is not None:
            return found
    return None


def _find(reference: Reference, document: object) -> Credentials | None:
    """As from a file, which exists in memory only."""
    descriptor = os.memfd_create("auth.json")
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(json.dumps(document).encode())
        return find(reference, auth_file=f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
