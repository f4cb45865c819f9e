"""Roots for work that is not a container's: an image's tree to read, or to write on and commit as a layer.

They are overlay mounts attached nowhere (fsmount(2)), reached by their descriptor: when their process dies
they are gone, and with the work folder's sweep nothing is left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from orlop.image.digest import Digest
from orlop.kit import files, locks
from orlop.kit.database import Database
from orlop.kit.errors import Unsupported
from orlop.store import overlay, rootfs
from orlop.store.commit_layer import Committed, commit_layer
from orlop.store.errors import explained
from orlop.store.layout import Layout
from orlop.store.pack.folder import Times
from orlop.store.workspace import work_folder


class ScratchRoot:
    """`path` is the writable root, `work` a folder of the same file system for whatever else is needed."""

    def __init__(self, layout: Layout, database: Database, work: str, below: list[str], mount: int) -> None:
        self._layout = layout
        self._database = database
        self._below = below
        self._mount = mount
        self.work = work
        self.path = f"/proc/self/fd/{mount}/." if mount >= 0 else f"{work}/layer/diff"

    def commit(
        self, parent: Digest | None, times: Times, tick: Callable[[], None] = lambda: None
    ) -> Committed | None:
        """What was written becomes a layer on the chain `parent`; None where nothing was. Once."""
        self.close()
        return commit_layer(
            self._layout,
            self._database,
            self.work,
            parent=parent,
            below=self._below,
            times=times,
            tick=tick,
        )

    def close(self) -> None:
        if self._mount >= 0:
            os.close(self._mount)
            self._mount = -1


@contextlib.contextmanager
def scratch_root(layout: Layout, database: Database, image_id: str, *, bare: bool) -> Iterator[ScratchRoot]:
    """A writable root on the image ("": on nothing); `bare`: the folder of the new layer alone.

    The caller holds a lease. Raises ImageUnknown, Unsupported.
    """
    with work_folder(layout.tmp) as work, contextlib.ExitStack() as stack:
        below = _lower(stack, layout, database, image_id)
        _folders(work)
        rootfs.dress(layout.layers, below, f"{work}/layer/diff")
        mount = -1
        if below and not bare:
            mount = _mounted(layout, below, f"{work}/layer/diff", f"{work}/ovl")
        root = ScratchRoot(layout, database, work, below, mount)
        try:
            yield root
        finally:
            root.close()


@contextlib.contextmanager
def image_root(layout: Layout, database: Database, image_id: str) -> Iterator[str]:
    """The path of the image's root, read-only, for the block. Raises ImageUnknown, Unsupported."""
    with contextlib.ExitStack() as stack:
        below = _lower(stack, layout, database, image_id)
        while len(below) < 2:  # overlayfs wants two without an upper one
            below.append(rootfs.empty_folder(layout, second=bool(below) and below[-1].endswith("empty")))
        mount = _mounted(layout, below, "", "")
        stack.callback(os.close, mount)
        yield f"/proc/self/fd/{mount}/."


@contextlib.contextmanager
def taken_rootfs(layout: Layout, database: Database, container_id: str) -> Iterator[ScratchRoot]:
    """What an ended container wrote, taken out of its file system to be committed. It has none afterwards.

    The caller holds a lease. Raises RootfsUnknown.
    """
    from orlop.store.errors import RootfsUnknown

    rows = database.query("SELECT image_id FROM rootfs WHERE container_id = ?", (container_id,))
    if not rows:
        raise RootfsUnknown(container_id, "has no file system in the store", hint="see: orlop ps --all")
    with work_folder(layout.tmp) as work, contextlib.ExitStack() as stack:
        rootfs.unmount_rootfs(layout, container_id)
        below = _lower(stack, layout, database, str(rows[0]["image_id"]))
        _take(layout, container_id, work)
        yield ScratchRoot(layout, database, work, below, -1)


@explained
def _take(layout: Layout, container_id: str, work: str) -> None:
    os.mkdir(f"{work}/layer")
    upper = f"{layout.rootfs(container_id)}/upper"
    with locks.hold(layout.container_lock(container_id)):
        os.rename(upper, f"{work}/layer/diff")
        os.mkdir(upper, 0o755)


@explained
def _folders(work: str) -> None:
    os.makedirs(f"{work}/layer/diff", mode=0o755)
    os.mkdir(f"{work}/ovl", 0o700)


def _lower(stack: contextlib.ExitStack, layout: Layout, database: Database, image_id: str) -> list[str]:
    if not image_id:
        return []
    return stack.enter_context(rootfs.lower_folders(layout, database, image_id, passing=True))


@explained
def _mounted(layout: Layout, below: list[str], upper: str, work: str) -> int:
    files.make_folder(layout.layers)
    mount = overlay.detached_overlay(layout.layers, below, upper=upper, work=work)
    if mount is None:
        raise Unsupported(
            "a build's root", "this kernel mounts no overlay by its descriptor", hint="use Linux 6.5 or newer"
        )
    return mount
