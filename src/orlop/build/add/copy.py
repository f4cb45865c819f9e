"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orlop.build.add.remote import Fetched
from orlop.build.containerfile.model import Add, Copy
from orlop.build.context.tree import Tree


@dataclass(frozen=True)
class Target:
    """Where it goes.

    `root`: the root file system's folder, mounted and writable; for --link an empty folder, which becomes a
    layer of its own. `users`: the folder in whose /etc/passwd and /etc/group --chown's names are looked up
    (the image's root; for --link the base's). `workdir`: absolute. `epoch`: SOURCE_DATE_EPOCH in seconds:
    times later than it become it; None leaves them.
    """

    root: str
    users: str
    workdir: str = "/"
    epoch: int | None = None


def copy(
    instruction: Copy | Add,
    source: Tree,
    target: Target,
    *,
    scratch: str,
    fetched: Sequence[Fetched] = (),
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Carry out an expanded COPY or ADD; returns the bytes written.

    `fetched`: for ADD with URLs or git, what `remote.fetch` returned. `scratch`: a folder on the root's file
    system or not, for temporary files. Raises NotFound (a source), InvalidInput, LimitExceeded, HostileArchive,
    Unavailable.
    """
    raise NotImplementedError
