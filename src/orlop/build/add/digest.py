"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orlop.build.add.remote import Fetched
from orlop.build.containerfile.model import Add, Copy
from orlop.build.context.tree import Tree


def of_sources(
    instruction: Copy | Add,
    source: Tree,
    *,
    fetched: Sequence[Fetched] = (),
    tick: Callable[[], None] = lambda: None,
) -> str:
    """What an expanded COPY or ADD will bring, as "sha256:...", for its cache key.

    Kinds, modes, contents, link targets and, where they are kept, owners and xattrs; names below the sources,
    not the order in which they are found, and no times. The instruction's own words are not in it.
    """
    raise NotImplementedError


def of_path(source: Tree, path: str, *, tick: Callable[[], None] = lambda: None) -> str:
    """The digest of one file or folder of a tree with all below it (RUN --mount=type=bind)."""
    raise NotImplementedError
