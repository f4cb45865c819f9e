"""Local volumes behind persistentVolumeClaims."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from orlop.kit import limits, locks
from orlop.kit.errors import Corrupt, OrlopError
from orlop.kit.files import make_folder, read_bounded, remove_tree, write_atomic
from orlop.kit.node import Node
from orlop.system.kube.quantity import ZERO
from orlop.system.kube.volume_model import PersistentVolumeClaim
from orlop.system.volumes import places

_DATA, _RECORD = "data", "claim.json"
_SHARED = 0o777


@dataclass(frozen=True)
class LocalVolume:
    """`size` is what the claim asked for, in bytes, recorded but not enforced; `path` its folder of data."""

    namespace: str
    name: str
    size: int
    path: str


def ensure_claim(node: Node, claim: PersistentVolumeClaim) -> str:
    """The claim's volume exists, and its size is recorded; returns the folder of its data."""
    metadata = claim.metadata
    place = places.claim(node, metadata.namespace, metadata.name)
    size = claim.spec.resources.requests.get("storage", ZERO).units
    with locks.hold(places.claim_lock(node, metadata.namespace, metadata.name)):
        data, record = os.path.join(place, _DATA), os.path.join(place, _RECORD)
        if not os.path.isdir(data):
            make_folder(data)
            os.chmod(data, _SHARED)  # whatever the umask: any user of any container writes there
        wanted = json.dumps({"size": size}).encode()
        if not os.path.exists(record) or read_bounded(record, limits.CONFIG_FILE_SIZE) != wanted:
            write_atomic(record, wanted)
    return data


def claims(node: Node) -> list[LocalVolume]:
    """All local volumes of the node, whether or not their claim is still declared."""
    top = node.in_root("volumes")
    found: list[LocalVolume] = []
    for namespace in _names(top):
        for name in _names(os.path.join(top, namespace)):
            place = places.claim(node, namespace, name)
            if os.path.isdir(os.path.join(place, _DATA)):
                found.append(LocalVolume(namespace, name, _size(place), os.path.join(place, _DATA)))
    return found


def remove_claim(node: Node, namespace: str, name: str) -> bool:
    """Remove the volume with its data; False: there was none. Raises Conflict where it is still mounted."""
    place = places.claim(node, namespace, name)
    with locks.hold(places.claim_lock(node, namespace, name)):
        if not os.path.isdir(place):
            return False
        try:
            remove_tree(place)
        except OSError as error:
            raise OrlopError(place, str(error), hint="see what is in it, then try again") from error
    return True


def _names(path: str) -> list[str]:
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def _size(place: str) -> int:
    record = os.path.join(place, _RECORD)
    try:
        return int(json.loads(read_bounded(record, limits.CONFIG_FILE_SIZE))["size"])
    except FileNotFoundError:
        return 0  # cut off between the folder and its record: the next play writes it
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            record, "is not the record of a local volume", hint="remove it and play again"
        ) from error
