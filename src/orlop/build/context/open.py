"""From what the command line names to a tree and the text of its Containerfile."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from typing import IO

from orlop.build.containerfile import parse
from orlop.build.context import archive, ignore, inside
from orlop.build.context.tree import Tree
from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, LimitExceeded, NotFound

_NAMES = ("Containerfile", "Dockerfile")
_IGNORE_FILES = (".containerignore", ".dockerignore")


class Context:
    """`tree` to copy from; `containerfile` is its text, `name` how errors call it. Close it."""

    def __init__(self, tree: Tree, containerfile: bytes, name: str, scratch: str = "") -> None:
        self.tree = tree
        self.containerfile = containerfile
        self.name = name
        self._scratch = scratch

    def close(self) -> None:
        """Removes what was unpacked for it."""
        self.tree.close()
        if self._scratch:
            files.remove_tree(self._scratch)

    def __enter__(self) -> Context:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    incoming = stdin or sys.stdin.buffer
    if where == "-" and file == "-":
        raise InvalidInput(
            "standard input", "is both the context and the Containerfile", hint="name a folder as the context"
        )
    if where != "-" and os.path.isdir(where):
        return _opened(where, file, incoming, "")
    own = tempfile.mkdtemp(prefix="context-", dir=scratch)
    try:
        if where == "-":
            text = _received(incoming, own, tick)
            if text is not None:
                return Context(Tree(own, "the context"), text, "standard input", own)
        else:
            _unpack_file(where, own, tick)
        return _opened(own, file, incoming, own)
    except BaseException:
        files.remove_tree(own)
        raise


def open_named(name: str, path: str, *, scratch: str, tick: Callable[[], None] = lambda: None) -> Tree:
    """A named context (`--build-context NAME=PATH`): a folder or an archive. Images are the caller's.

    Its own ignore file holds. What is unpacked lies in `scratch` until the caller removes that.
    """
    label = f"the context {name}"
    if not os.path.isdir(path):
        own = tempfile.mkdtemp(prefix="context-", dir=scratch)
        _unpack_file(path, own, tick)
        path = own
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        patterns = _of_context(root)
    finally:
        os.close(root)
    return Tree(path, label, ignore=patterns)


def _opened(folder: str, file: str, incoming: IO[bytes], scratch: str) -> Context:
    try:
        root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(folder, f"is no context: {error.strerror}", hint="name a folder") from error
    try:
        text, name, beside = _containerfile(root, folder, file, incoming)
        patterns = beside or _of_context(root)
    finally:
        os.close(root)
    return Context(Tree(folder, "the context", ignore=patterns), text, name, scratch)


def _containerfile(
    root: int, folder: str, file: str, incoming: IO[bytes]
) -> tuple[bytes, str, ignore.Ignore | None]:
    """Its text, its name, and the ignore file of its own."""
    if file == "-":
        return parse.read("-", incoming), "standard input", None
    if not file:
        for name in _NAMES:
            text = _read_inside(root, name, limits.CONTAINERFILE_SIZE)
            if text is not None:
                return (
                    text,
                    name,
                    _beside(lambda path: _read_inside(root, path, limits.IGNORE_FILE_SIZE), name),
                )
        raise NotFound(folder, "has no Containerfile and no Dockerfile", hint="name the file: --file PATH")
    if not os.path.isabs(file) and not os.path.exists(file):
        text = _read_inside(root, file, limits.CONTAINERFILE_SIZE)
        if text is not None:
            return text, file, _beside(lambda path: _read_inside(root, path, limits.IGNORE_FILE_SIZE), file)
    return parse.read(file), file, _beside(_read_outside, file)


def _beside(read: Callable[[str], bytes | None], file: str) -> ignore.Ignore | None:
    for ending in _IGNORE_FILES:
        data = read(file + ending)
        if data is not None:
            return ignore.Ignore(ignore.parse(data), file + ending)
    return None


def _of_context(root: int) -> ignore.Ignore | None:
    for name in _IGNORE_FILES:
        data = _read_inside(root, name, limits.IGNORE_FILE_SIZE)
        if data is not None:
            return ignore.Ignore(ignore.parse(data), name)
    return None


def _read_outside(path: str) -> bytes | None:
    try:
        return files.read_bounded(path, limits.IGNORE_FILE_SIZE)
    except OSError:
        return None


def _read_inside(root: int, path: str, limit: int) -> bytes | None:
    """A regular file of the context, links followed within it only; None where there is none."""
    try:
        real = inside.resolve(root, path, "the context")
        descriptor = inside.open_real(root, real, os.O_RDONLY | os.O_NONBLOCK)
    except (inside.Missing, OSError):
        return None
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise LimitExceeded(path, f"is longer than {limit} bytes", hint="see whether this is the right file")
    return data


def _received(incoming: IO[bytes], own: str, tick: Callable[[], None]) -> bytes | None:
    """Unpacks what comes into `own`; or returns it, where it is a Containerfile."""
    head = incoming.read(limits.CONTAINERFILE_SIZE)
    if not head:
        raise InvalidInput("standard input", "is empty", hint="send a tar archive or a Containerfile")
    if archive.is_archive(io.BytesIO(head), "standard input"):
        archive.unpack(_Joined(head, incoming), own, "the context", tick=tick)
        return None
    if incoming.read(1):
        raise LimitExceeded(
            "standard input",
            f"is no archive, and no Containerfile: longer than {limits.CONTAINERFILE_SIZE} bytes",
            hint="send a tar archive (plain, gzip, bzip2, xz, zstd)",
        )
    return head


class _Joined:
    """What was read already, then the rest."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = io.BytesIO(head)
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        return self._head.read(size) or self._rest.read(size)


def _unpack_file(path: str, folder: str, tick: Callable[[], None]) -> None:
    try:
        stream = open(path, "rb")  # noqa: SIM115  closed below
    except OSError as error:
        raise NotFound(
            path,
            f"is no context: {error.strerror}",
            hint="name a folder, an archive, or - for standard input",
        ) from error
    with stream:
        if not archive.is_archive(stream, path):
            raise InvalidInput(
                path, "is neither a folder nor an archive", hint="name the folder to build from"
            )
        stream.seek(0)
        archive.unpack(stream, folder, path, tick=tick)
