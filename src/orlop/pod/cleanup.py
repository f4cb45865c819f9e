"""What conmon starts when a detached container of `orlop run` has ended: its pod's addresses and ports are
freed, and with `--rm` both are removed.

python -m orlop.pod.cleanup ROOT STATE CONFIG CONTAINER
"""

from __future__ import annotations

import os
import sys

from orlop.kit.config import Config
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node


def command(node: Node, container_id: str) -> tuple[str, ...]:
    """The command line that frees what this container holds after its end."""
    return (sys.executable, "-m", "orlop.pod.cleanup", node.root, node.state, node.config, container_id)


def main(arguments: list[str]) -> int:
    """Free what the container and its pod hold, and remove them if that was asked for.

    0 where that is done, 1 where recovery must go on, 2 for a wrong call.
    """
    if len(arguments) != 4:
        return 2
    from orlop.pod.context import Pods
    from orlop.pod.run import remove_pair
    from orlop.pod.stop_sandbox import stop_sandbox

    root, state, config, container_id = arguments
    node = Node(root, state, config)
    if not os.path.exists(node.in_root("pods.db")):
        return 0  # the whole node is gone: nothing of it may come back
    try:
        pods = Pods(node, Config.load(node))
        row = pods.records.row("containers", container_id)
        if row is not None and row["remove"]:
            remove_pair(pods, row["sandbox_id"], container_id)
        elif row is not None:
            stop_sandbox(pods, row["sandbox_id"])
    except OrlopError as error:
        import logging

        logging.getLogger(__name__).warning("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
