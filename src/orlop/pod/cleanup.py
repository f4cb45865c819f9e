"""What conmon starts when a detached `--rm` container has ended: it is removed, with its pod.

python -m orlop.pod.cleanup ROOT STATE CONFIG CONTAINER
"""

from __future__ import annotations

import sys

from orlop.kit.config import Config
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node


def command(node: Node, container_id: str) -> tuple[str, ...]:
    """The command line that removes this container after its end."""
    return (sys.executable, "-m", "orlop.pod.cleanup", node.root, node.state, node.config, container_id)


def main(arguments: list[str]) -> int:
    """Remove the container; 0 where it is gone, 1 where recovery must go on, 2 for a wrong call."""
    if len(arguments) != 4:
        return 2
    from orlop.pod.context import Pods
    from orlop.pod.run import remove_pair

    root, state, config, container_id = arguments
    node = Node(root, state, config)
    try:
        pods = Pods(node, Config.load(node))
        row = pods.records.row("containers", container_id)
        if row is not None:
            remove_pair(pods, row["sandbox_id"], container_id)
    except OrlopError as error:
        import logging

        logging.getLogger(__name__).warning("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
