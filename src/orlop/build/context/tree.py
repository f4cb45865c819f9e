"""A folder that a build reads from."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orlop.build.context import inside
from orlop.build.context.ignore import Ignore
from orlop.build.context.inside import Parts
from orlop.build.context.pattern import Pattern
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded, NotFound

_WILD = re.compile(r"[*?\[\\]")


@dataclass(frozen=True)
class Node:
    """What a walk comes by. `parts`: below the walk's start, () for the start itself. `folder` and `name`:
    where it lies; the descriptor is valid until the walk goes on."""

    parts: Parts
    folder: int
    name: str
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class Tree:
    """A folder to copy from. Close it. Thread-safe.

    `label` names it in errors ("the context", "stage build", ...). `owners`: files keep their owners when
    they are copied (true for stages and images; what comes from a context becomes root's).
    """

    def __init__(self, path: str, label: str, *, ignore: Ignore | None = None, owners: bool = False) -> None:
        try:
            self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(path, f"is no folder to read: {error.strerror}", hint="name a folder") from error
        self.path = path
        self.label = label
        self.owners = owners
        self._ignore = ignore
        self._closing = threading.Lock()

    def close(self) -> None:
        with self._closing:
            if self.root >= 0:
                os.close(self.root)
                self.root = -1

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def find(self, path: str) -> Parts:
        """The real path that `path` leads to. Raises NotFound, also where the ignore file leaves it out."""
        try:
            real = inside.resolve(self.root, "/".join(inside.cleaned(path)), self.label)
        except inside.Missing:
            raise self._absent(path) from None
        found = inside.status(self.root, real)
        if found is None:
            raise self._absent(path)
        if not self.sees(real, is_folder=stat.S_ISDIR(found.st_mode)):
            raise NotFound(
                f"{self.label}: {path}", "is left out by the ignore file", hint="bring it back with !PATTERN"
            )
        return real

    def status(self, real: Parts) -> os.stat_result:
        found = inside.status(self.root, real)
        if found is None:
            raise self._absent("/".join(real))
        return found

    def expand(self, source: str) -> list[str]:
        """The paths that a source means: itself, or what its wildcards (filepath.Match) match, sorted.

        Only what has wildcards may be nothing at all. `.wh.` files are nobody's to copy.
        """
        parts = list(inside.cleaned(source))
        if not any(_WILD.search(part) for part in parts):
            return ["/".join(parts)]
        found = [""]
        for part in parts:
            found = [path for start in found for path in self._matching(start, part)]
            if len(found) > limits.CONTEXT_ENTRIES:
                raise LimitExceeded(source, "matches too many files", hint="name a folder")
        return [path for path in found if self._visible(path)]

    def sees(self, real: Parts, *, is_folder: bool) -> bool:
        """Whether the ignore file lets it be: a left-out folder does where something in it comes back."""
        if self._ignore is None or not self._ignore.excludes("/".join(real)):
            return True
        return is_folder and self._ignore.brings_back and any(n.parts for n in self.walk(real))

    def walk(
        self,
        real: Parts,
        *,
        skip: Callable[[Parts], bool] = lambda parts: False,
        tick: Callable[[], None] = lambda: None,
    ) -> Iterator[Node]:
        """`real` and all below it that the ignore file lets be, each folder before what is in it, sorted.

        `skip` is asked with the parts below `real`; what it skips is gone with all below. Folders that the
        ignore file leaves out come only if something in them is brought back. Raises LimitExceeded,
        OSError where the machine is at fault.
        """
        walk = _Walk(self.label, self._ignore, real, skip, tick)
        if not real:
            start = Node((), self.root, ".", os.fstat(self.root))
            yield start
            yield from walk.below(start)
            return
        with inside.parent(self.root, real) as folder:
            start = Node((), folder, real[-1], os.stat(real[-1], dir_fd=folder, follow_symlinks=False))
            yield start
            if start.is_folder:
                yield from walk.below(start)

    def _matching(self, start: str, part: str) -> list[str]:
        """What of the folder `start` the pattern `part` matches; a name without wildcards is itself."""
        if not _WILD.search(part):
            return [f"{start}/{part}" if start else part]
        pattern = Pattern(part, part, deep=False)
        try:
            real = inside.resolve(self.root, start, self.label)
            folder = inside.open_real(self.root, real)
        except (inside.Missing, InvalidInput, OSError):
            return []
        try:
            names = os.listdir(folder)
        finally:
            os.close(folder)
        return [f"{start}/{name}" if start else name for name in sorted(names) if pattern.matches(name)]

    def _visible(self, path: str) -> bool:
        try:
            self.find(path)
        except (NotFound, InvalidInput):
            return False
        return True

    def _absent(self, path: str) -> NotFound:
        hint = f"see what {self.label} has at that place"
        return NotFound(f"{self.label}: {path or '/'}", "no such file or folder", hint=hint)


class _Level:
    """A folder that is being walked; `told` once its node was given out."""

    def __init__(self, node: Node, *, told: bool) -> None:
        self.node = node
        self.told = told
        self.folder = os.open(node.name, inside.FOLDER | os.O_CLOEXEC, dir_fd=node.folder)
        try:
            self.names = iter(sorted(os.listdir(self.folder)))
        except BaseException:
            os.close(self.folder)
            raise


class _Walk:
    """Depth first with a stack of its own: trees may be deeper than Python's."""

    def __init__(
        self,
        label: str,
        ignore: Ignore | None,
        start: Parts,
        skip: Callable[[Parts], bool],
        tick: Callable[[], None],
    ) -> None:
        self._label = label
        self._ignore = ignore
        self._start = start
        self._skip = skip
        self._tick = tick
        self._entries = 0
        self._levels: list[_Level] = []

    def below(self, start: Node) -> Iterator[Node]:
        """What is in the folder `start`."""
        self._levels.append(_Level(start, told=True))
        try:
            while self._levels:
                level = self._levels[-1]
                name = next(level.names, None)
                if name is None:
                    os.close(self._levels.pop().folder)
                    continue
                node = self._node(level, name)
                if node is not None:
                    yield from self._one(node)
        finally:
            for level in self._levels:
                os.close(level.folder)

    def _node(self, level: _Level, name: str) -> Node | None:
        self._entries += 1
        if self._entries > limits.CONTEXT_ENTRIES:
            hint = "leave folders out with .containerignore"
            raise LimitExceeded(self._label, f"more than {limits.CONTEXT_ENTRIES} files", hint=hint)
        self._tick()
        parts = (*level.node.parts, name)
        if self._skip(parts):
            return None
        try:
            status = os.stat(name, dir_fd=level.folder, follow_symlinks=False)
        except FileNotFoundError:  # gone meanwhile
            return None
        return Node(parts, level.folder, name, status)

    def _one(self, node: Node) -> Iterator[Node]:
        ignore = self._ignore
        out = ignore is not None and ignore.excludes("/".join((*self._start, *node.parts)))
        if not out:
            for level in self._levels:
                if not level.told:
                    level.told = True
                    yield level.node
            yield node
        if node.is_folder and (not out or (ignore is not None and ignore.brings_back)):
            if len(node.parts) > limits.PATH_DEPTH:
                where = "/".join(node.parts)[:200]
                raise LimitExceeded(f"{self._label}: {where}", "is too deep", hint="leave it out")
            self._levels.append(_Level(node, told=not out))
