"""STUB, being written: the signatures hold."""

from __future__ import annotations

from orlop.build.context.ignore import Ignore


class Tree:
    """A folder to copy from. Close it. Thread-safe.

    `label` names it in errors ("the context", "stage build", ...). `owners`: files keep their owners when
    they are copied (true for stages and images; what comes from a context becomes root's).
    """

    def __init__(self, path: str, label: str, *, ignore: Ignore | None = None, owners: bool = False) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Tree:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError
