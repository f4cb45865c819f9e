"""STUB, being written: the signatures hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from orlop.build.context.tree import Tree


class Context:
    """`tree` to copy from; `containerfile` is its text, `name` how errors call it. Close it."""

    tree: Tree
    containerfile: bytes
    name: str

    def close(self) -> None:
        """Removes what was unpacked for it."""

    def __enter__(self) -> Context:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError


def open_context(
    where: str,
    *,
    file: str = "",
    scratch: str,
    stdin: IO[bytes] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> Context:
    """`where`: a folder, an archive's path, or "-": an archive or a bare Containerfile on `stdin`.

    `file`: the Containerfile: a path ("-": `stdin`), relative ones are looked for from the working folder and
    then in the context; "" is Containerfile, then Dockerfile, of the context. `scratch`: a folder of the
    caller's for unpacked archives. Ignore files: FILE.containerignore, FILE.dockerignore beside the
    Containerfile, else .containerignore, .dockerignore of the context. Raises NotFound, InvalidInput,
    LimitExceeded, HostileArchive.
    """
    raise NotImplementedError


def open_named(name: str, path: str, *, scratch: str, tick: Callable[[], None] = lambda: None) -> Tree:
    """A named context (`--build-context NAME=PATH`) that is a folder or an archive. Images are the caller's."""
    raise NotImplementedError
