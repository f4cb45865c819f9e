"""Carry out COPY and ADD: which source goes where, as the Dockerfile reference says it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from orlop.build.add import select
from orlop.build.add.mode import mode_of
from orlop.build.add.owner import owner_of
from orlop.build.add.place import Dress, Root
from orlop.build.add.remote import Fetched
from orlop.build.containerfile.errors import bad
from orlop.build.containerfile.model import Add, Copy
from orlop.build.context import archive, inside
from orlop.build.context.inside import Parts
from orlop.build.context.tree import Tree
from orlop.kit import files
from orlop.kit.errors import InvalidInput, NotFound, OrlopError, Unavailable
from orlop.store.model import StoreSettings

T = TypeVar("T")
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Target:
    """Where it goes.

    `root`: the root file system's folder, mounted and writable; for --link an empty folder, which becomes a
    layer of its own. `users`: the folder in whose /etc/passwd and /etc/group --chown's names are looked up
    (the image's root; for --link the base's). `workdir`: absolute. `epoch`: SOURCE_DATE_EPOCH in seconds:
    times later than it become it; None leaves them. `settings`: the store's bounds for archives.
    """

    root: str
    users: str
    workdir: str = "/"
    epoch: int | None = None
    settings: StoreSettings = field(default_factory=StoreSettings)


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

    `fetched`: for ADD with URLs or git, what `remote.fetch` returned. `scratch`: a folder for temporary
    files. Raises NotFound (a source), InvalidInput, LimitExceeded, HostileArchive, Unavailable.
    """
    newest = None if target.epoch is None else target.epoch * _SECOND
    try:
        root = Root(target.root, newest, tick)
        try:
            work = _Copying(instruction, source, target, root, scratch, tick)
            work.run(fetched)
            root.finish()
            return root.written
        finally:
            root.close()
    except OrlopError:
        raise
    except OSError as error:
        raise Unavailable(
            str(instruction.place),
            f"{instruction.keyword} fails: {error.strerror or error}"
            + (f" ({error.filename})" if isinstance(error.filename, str) else ""),
            hint="see that the disk has room (df -h, df -i), that this runs as root and that nobody changes "
            "the files meanwhile",
        ) from error


class _Copying:
    def __init__(
        self,
        instruction: Copy | Add,
        source: Tree,
        target: Target,
        root: Root,
        scratch: str,
        tick: Callable[[], None],
    ) -> None:
        self._instruction = instruction
        self._source = source
        self._target = target
        self._root = root
        self._scratch = scratch
        self._tick = tick
        self._dress = Dress(
            owner=self._checked(lambda: owner_of(instruction.chown, target.users)),
            mode=self._checked(lambda: mode_of(instruction.chmod)),
            keeps_owner=source.owners,
            newest=None if target.epoch is None else target.epoch * _SECOND,
        )
        self._now = time.time_ns()
        self._is_folder = False
        self._path = ""

    def run(self, fetched: Sequence[Fetched]) -> None:
        items = select.selected(self._instruction, self._source)
        heredocs = self._instruction.heredocs
        self._destination(len(items) + len(heredocs) + len(fetched))
        for item in items:
            self._item(item)
        for one in fetched:
            self._fetched(one)
        for document in heredocs:
            parent, name = self._place_of(document.name.rpartition("/")[2])
            content = document.content.encode(errors="surrogateescape")
            self._root.text(content, parent, name, self._dress, when=self._now)

    # -- where -----------------------------------------------------------------------------------------

    def _destination(self, sources: int) -> None:
        written = self._instruction.destination
        last = written.rpartition("/")[2]
        path = written if written.startswith("/") else f"{self._target.workdir}/{written}"
        self._path = "/" + "/".join(inside.cleaned(path))
        self._is_folder = last in ("", ".", "..") or self._root.is_folder(self._path)
        if sources > 1 and not self._is_folder:
            raise bad(
                self._instruction.place,
                f"several sources, and the destination {written} is no folder",
                f"end it by a slash: {written}/",
            )

    def _folder(self) -> Parts:
        """The destination as a folder, made where it lacks."""
        return self._root.resolve(self._path + "/", self._dress)

    def _place_of(self, name: str) -> tuple[Parts, str]:
        """Where a file of this name goes: folder and name."""
        if self._is_folder:
            if not name:
                raise bad(
                    self._instruction.place, "a source without a name into a folder", "name the destination"
                )
            return self._folder(), name
        above, _, last = self._path.rpartition("/")
        self._root.resolve(above + "/", self._dress)
        real = self._root.resolve(self._path, self._dress)  # behind a link, within the image
        if not real or not last:
            raise bad(self._instruction.place, "a file as the root", "name a path below /")
        return real[:-1], real[-1]

    # -- what ------------------------------------------------------------------------------------------

    def _item(self, item: select.Item) -> None:
        if item.is_folder:
            self._content(item, self._source, self._folder(), self._dress)
            return
        instruction = self._instruction
        if isinstance(instruction, Add) and instruction.unpack is not False:
            descriptor = inside.open_real(self._source.root, item.real, os.O_RDONLY | os.O_NONBLOCK)
            with open(descriptor, "rb") as stream:
                if self._unpacked(stream, "/".join(item.real)):
                    return
        for _, node in select.entries(item, self._source, instruction.exclude, self._tick):
            parent, name = self._place_of(item.name)
            self._root.leaf(node, parent, name, self._dress)

    def _content(self, item: select.Item, tree: Tree, into: Parts, dress: Dress) -> None:
        """A folder's content; folders in it get the source's mode, the destination itself keeps its own."""
        real: dict[Parts, Parts] = {(): into}
        for parts, node in select.entries(item, tree, self._instruction.exclude, self._tick):
            if not parts:
                continue
            parent = real[parts[:-1]]
            if node.is_folder:
                real[parts] = self._root.folder(node, parent, parts[-1], dress)
            else:
                self._root.leaf(node, parent, parts[-1], dress)

    def _fetched(self, one: Fetched) -> None:
        instruction = self._instruction
        dress = replace(self._dress, keeps_owner=False)
        if one.is_folder:
            with Tree(one.path, one.url) as tree:
                self._content(select.Item((), "", is_folder=True), tree, self._folder(), dress)
            return
        with open(one.path, "rb") as stream:
            if isinstance(instruction, Add) and instruction.unpack and self._unpacked(stream, one.url):
                return
        folder, name = os.path.split(one.path)
        with Tree(folder, one.url) as tree:
            for node in tree.walk((name,), tick=self._tick):
                parent, new = self._place_of(one.name)
                self._root.leaf(node, parent, new, dress)

    def _unpacked(self, stream: archive.Seekable, name: str) -> bool:
        """Whether it was an archive: then its content is in the destination."""
        subject = f"archive {name}"
        if not archive.is_archive(stream, subject):
            return False
        stream.seek(0)
        folder = tempfile.mkdtemp(prefix="add-", dir=self._scratch)
        try:
            archive.unpack(stream, folder, subject, settings=self._target.settings, tick=self._tick)
            self._root.forget_links()
            with Tree(folder, subject, owners=True) as tree:
                dress = replace(self._dress, keeps_owner=True, mode=None)
                self._content(select.Item((), "", is_folder=True), tree, self._folder(), dress)
        finally:
            files.remove_tree(folder)
            self._root.forget_links()
        return True

    def _checked(self, function: Callable[[], T]) -> T:
        """What is wrong with a flag's value, with the line."""
        try:
            return function()
        except (InvalidInput, NotFound) as error:
            raise bad(self._instruction.place, f"{error.subject} {error.cause}", error.hint) from error
