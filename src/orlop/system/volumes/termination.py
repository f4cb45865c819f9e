"""Termination messages: a file that the container writes and that is read once it has ended."""

from __future__ import annotations

from orlop.kit.node import Node


def termination_log(node: Node, uid: str, container: str) -> str:
    """The host's file, made empty: to be bound at terminationMessagePath of the container's next start."""
    raise AssertionError("under way")


def read_termination(node: Node, uid: str, container: str) -> str:
    """What the container wrote, its last 4096 bytes at most; "" where it wrote nothing."""
    raise AssertionError("under way")
