"""What sources come to, for cache keys: contents are hashed in threads while the walk goes on."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from orlop.build.add import select
from orlop.build.add.remote import Fetched
from orlop.build.containerfile.model import Add, Copy
from orlop.build.context.tree import Node, Tree
from orlop.kit import limits
from orlop.kit.errors import Unavailable

_THREADS = 4
_AHEAD = 64  # files open at the same time
_PIECE = 1 * limits.MIB
_IGNORED_XATTRS = ("trusted.overlay.", "user.overlay.", "security.selinux")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def of_sources(
    instruction: Copy | Add,
    source: Tree,
    *,
    fetched: Sequence[Fetched] = (),
    tick: Callable[[], None] = lambda: None,
) -> str:
    """What an expanded COPY or ADD will bring, as "sha256:...", for its cache key.

    Kinds, modes, contents, link targets and, where they are kept, owners and xattrs; names below the sources,
    not the order in which they are found, and no times. The instruction's own words are not in it. Raises
    NotFound, InvalidInput, LimitExceeded, Unavailable.
    """
    with _Summing(source) as work:
        for index, item in enumerate(select.selected(instruction, source)):
            for parts, node in select.entries(item, source, instruction.exclude, tick):
                if item.is_folder and not parts:
                    continue  # the destination's own mode counts, not the source's
                work.add(index, "/".join(parts) or item.name, node)
        for document in instruction.heredocs:
            work.say(["heredoc", document.name, document.content])
        for one in fetched:
            work.say(["fetched", one.name, one.digest, one.is_folder])
        return work.total()


def of_path(source: Tree, path: str, *, tick: Callable[[], None] = lambda: None) -> str:
    """The digest of one file or folder of a tree with all below it (RUN --mount=type=bind)."""
    with _Summing(source) as work:
        for node in source.walk(source.find(path), tick=tick):
            work.add(0, "/".join(node.parts), node)
        return work.total()


class _Summing:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="digest")
        self._waiting: deque[tuple[list[object], Future[str]]] = deque()
        self._records: list[bytes] = []

    def __enter__(self) -> _Summing:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._pool.shutdown()
        if isinstance(error, OSError):
            raise _changed(self._tree, str(error.filename or ""), error) from error

    def say(self, record: list[object]) -> None:
        self._records.append(json.dumps(record, ensure_ascii=True).encode())

    def add(self, index: int, path: str, node: Node) -> None:
        status = node.status
        kind = stat.S_IFMT(status.st_mode)
        if stat.S_ISSOCK(kind):
            return
        record: list[object] = [index, path, kind, stat.S_IMODE(status.st_mode)]
        if self._tree.owners:
            record += [status.st_uid, status.st_gid]
        try:
            if stat.S_ISREG(kind):
                file = os.open(node.name, _READ, dir_fd=node.folder)
                record.append(self._xattrs(file))
                self._waiting.append((record, self._pool.submit(_content, file)))
                while len(self._waiting) > _AHEAD:
                    self._settle()
                return
            if stat.S_ISLNK(kind):
                record[3] = 0
                record.append(os.readlink(node.name, dir_fd=node.folder))
            elif not stat.S_ISDIR(kind):
                record.append(status.st_rdev)
        except OSError as error:
            raise _changed(self._tree, path, error) from error
        self.say(record)

    def total(self) -> str:
        while self._waiting:
            self._settle()
        digest = hashlib.sha256()
        for record in sorted(self._records):
            digest.update(b"%d:" % len(record) + record)
        return f"sha256:{digest.hexdigest()}"

    def _settle(self) -> None:
        record, future = self._waiting.popleft()
        try:
            record.append(future.result())
        except OSError as error:
            raise _changed(self._tree, str(record[1]), error) from error
        self.say(record)

    def _xattrs(self, file: int) -> list[tuple[str, str]]:
        try:
            names = os.listxattr(file)
        except OSError:
            return []
        kept = [name for name in sorted(names) if not name.startswith(_IGNORED_XATTRS)]
        if not self._tree.owners:
            kept = [name for name in kept if name.startswith(("user.", "security.capability"))]
        return [(name, os.getxattr(file, name).hex()) for name in kept]


def _content(file: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb", buffering=0) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _changed(tree: Tree, path: str, error: OSError) -> Unavailable:
    return Unavailable(
        f"{tree.label}: {path}",
        f"cannot be read: {error.strerror}",
        hint="see who changes it, and its rights",
    )
