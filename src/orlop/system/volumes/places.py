"""Where volumes are."""

from __future__ import annotations

import os
import re

from orlop.kit.errors import InvalidInput
from orlop.kit.node import Node

_UID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{0,127}")
_FOLDER = "pod-volumes"
_TERMINATION = ".termination"
_OWNED = ".owned"


def on_disk(node: Node, uid: str) -> str:
    """The pod's folder that a reboot keeps."""
    return node.in_root(_FOLDER, checked(uid))


def in_memory(node: Node, uid: str) -> str:
    """The pod's tmpfs, or where it goes: what is filled from objects, and below it further tmpfs."""
    return node.in_state(_FOLDER, checked(uid))


def termination(node: Node, uid: str, container: str) -> str:
    return os.path.join(on_disk(node, uid), _TERMINATION, container)


def owned(node: Node, uid: str, volume: str) -> str:
    """The mark that fsGroup was applied to a volume of this pod."""
    return os.path.join(on_disk(node, uid), _OWNED, volume)


def lock(node: Node, uid: str) -> str:
    return node.in_state("locks", f"pod-volumes-{checked(uid)}")


def claim(node: Node, namespace: str, name: str) -> str:
    return node.in_root("volumes", namespace, name)


def claim_lock(node: Node, namespace: str, name: str) -> str:
    return node.in_state("locks", f"claim-{namespace}-{name}")


def uids(node: Node) -> set[str]:
    """The pods that have a folder or a mount point here."""
    found: set[str] = set()
    for place in (node.in_root(_FOLDER), node.in_state(_FOLDER)):
        if os.path.isdir(place):
            found.update(os.listdir(place))
    return found


def checked(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise InvalidInput(uid[:100], "is no pod's uid", hint="letters, digits and - only")
    return uid
