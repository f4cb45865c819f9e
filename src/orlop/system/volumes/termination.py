"""Termination messages: a file that the container writes and that is read once it has ended."""

from __future__ import annotations

import os

from orlop.kit.files import make_folder
from orlop.kit.node import Node
from orlop.system.volumes import places

LONGEST = 4096  # bytes of a termination message that count, as in Kubernetes


def termination_log(node: Node, uid: str, container: str) -> str:
    """The host's file, made empty: to be bound at terminationMessagePath of the container's next start."""
    path = places.termination(node, uid, container)
    make_folder(os.path.dirname(path))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        os.fchmod(descriptor, 0o666)  # whatever the umask: any user of the container writes it
    finally:
        os.close(descriptor)
    return path


def read_termination(node: Node, uid: str, container: str) -> str:
    """What the container wrote, its last 4096 bytes at most; "" where it wrote nothing."""
    try:
        with open(places.termination(node, uid, container), "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - LONGEST))
            return stream.read(LONGEST).decode(errors="replace")
    except FileNotFoundError:
        return ""
