"""What a daemon leaves word of, for `orlop status`: serve.json in the state folder."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from orlop.kit import files, limits, locks
from orlop.kit.errors import OrlopError
from orlop.kit.node import Node

FILE = "serve.json"
LOCK = "serve.lock"


class Word:
    """The daemon's side. Entries are objects that JSON can say; every change is written at once."""

    def __init__(self, node: Node) -> None:
        self._path = node.in_state(FILE)
        self._said: dict[str, Any] = {}

    def say(self, **entries: object) -> None:
        """Set entries. What cannot be written (a full disk) is not said: it is for people only."""
        self._said |= entries
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
            text = json.dumps(self._said, indent=1).encode()
            files.write_atomic(self._path, text, mode=0o600, durable=False)


def running(node: Node) -> bool:
    """Whether a daemon of this node lives."""
    path = node.in_root(LOCK)
    if not os.path.exists(path):
        return False
    with locks.attempt(path) as free:
        return not free


def read(node: Node) -> dict[str, Any]:
    """What the last daemon left word of; {} where there is nothing."""
    try:
        found = json.loads(files.read_bounded(node.in_state(FILE), limits.CONFIG_FILE_SIZE))
    except (OSError, ValueError, OrlopError):
        return {}
    return found if isinstance(found, dict) else {}
