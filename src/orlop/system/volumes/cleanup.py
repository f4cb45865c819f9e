"""Take a pod's volumes away."""

from __future__ import annotations

import contextlib
import errno
import os

from orlop.kit import locks
from orlop.kit.errors import Conflict, Unavailable
from orlop.kit.files import remove_tree
from orlop.kit.node import Node
from orlop.system.volumes import places
from orlop.system.volumes.tmpfs import unmount_below


def cleanup(node: Node, uid: str) -> None:
    """No mount and no folder of the pod's volumes is left; claims stay. Raises Conflict where one is used."""
    lock = places.lock(node, uid)
    with locks.hold(lock):
        try:
            unmount_below(places.in_memory(node, uid))
            remove_tree(places.in_memory(node, uid))
            remove_tree(places.on_disk(node, uid))
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise Conflict(
                    f"volumes of pod {uid}", "a container still uses them", hint="stop the pod first"
                ) from error
            raise Unavailable(f"volumes of pod {uid}", str(error), hint="try again") from error
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)


def leftovers(node: Node) -> list[str]:
    """The uids of pods that have volumes on this node: those that no pod bears any more are to be cleaned."""
    return sorted(places.uids(node))
