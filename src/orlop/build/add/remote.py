"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orlop.build.containerfile.model import Add


@dataclass(frozen=True)
class Fetched:
    """A remote source that was brought: a file (mode 0600, its time from Last-Modified) or a git work tree."""

    url: str
    path: str
    name: str
    digest: str
    is_folder: bool = False
    mtime: int = 0


def is_remote(source: str) -> bool:
    """An http(s) URL or a git address."""
    raise NotImplementedError


def fetch(instruction: Add, scratch: str, *, tick: Callable[[], None] = lambda: None) -> tuple[Fetched, ...]:
    """Bring the remote sources of an expanded ADD into `scratch`, in their order. Checks --checksum.

    Raises Unavailable, NotFound, Corrupt (the checksum), LimitExceeded, InvalidInput.
    """
    raise NotImplementedError
