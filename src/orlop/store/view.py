"""The merged root of some layers, for as long as somebody reads it: a mount that nobody else sees.

A thread takes a mount namespace of its own, mounts there, opens the root and waits. The mount goes with the
thread, so that a kill -9 at any moment leaves nothing but a work folder.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence

from orlop.kit import kernel
from orlop.kit.database import Database
from orlop.kit.errors import Unavailable
from orlop.store import overlay
from orlop.store.erofs import mounts
from orlop.store.errors import ImageUnknown
from orlop.store.layout import Layout
from orlop.store.rootfs import empty_folder
from orlop.store.workspace import work_folder

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    import sqlite3


def layers_of(database: Database, image_id: str) -> list[str]:
    """Chain IDs, bottom first. Raises ImageUnknown."""
    query = "SELECT chain_id FROM image_layers WHERE image_id = ? ORDER BY position"
    found = [row["chain_id"] for row in database.query(query, (image_id,))]
    if not found and not database.query("SELECT 1 FROM images WHERE id = ?", (image_id,)):
        raise ImageUnknown(image_id, "is not in the store", hint="pull the image again")
    return found


@contextlib.contextmanager
def merged(layout: Layout, database: Database, layers: Sequence[str], *, top: str = "") -> Iterator[int]:
    """A descriptor of the read-only root that these chain IDs (bottom first) make, for the `with` block.

    `top` is a folder as overlayfs writes it, to lie above them: a container's upper one. The caller holds a
    lease, or knows otherwise that they stay. Raises Unsupported, Corrupt (a layer is gone), Unavailable.
    """
    with (
        work_folder(layout.tmp) as work,
        mounts.held(layout, _diffs(database, layers), passing=True) as lower,
    ):
        if top:
            lower.insert(0, os.path.relpath(os.path.realpath(top), os.path.realpath(layout.layers)))
        while len(lower) < 2:  # what overlayfs wants for a mount without an upper folder
            lower.append(empty_folder(layout, second=bool(lower)))
        view = _View(layout, lower, work)
        try:
            yield view.open()
        finally:
            view.close()


def _diffs(database: Database, layers: Sequence[str]) -> list[tuple[str, str]]:
    """As rootfs.lower_folders, for layers of any image or of none: names and forms."""
    names: dict[str, str] = {}
    for chain_id in reversed(layers):
        row = _diff(database, chain_id)
        names.setdefault(row["name"], row["form"])
        if row["opaque"]:
            break
    return list(names.items())


def _diff(database: Database, chain_id: str) -> sqlite3.Row:
    rows = database.query(
        "SELECT d.name, d.opaque, d.form FROM layers l JOIN diffs d ON d.diff_id = l.diff_id"
        " WHERE l.chain_id = ?",
        (chain_id,),
    )
    if not rows:
        raise ImageUnknown(f"layer {chain_id}", "is not in the store", hint="pull the image again")
    return rows[0]


class _View:
    def __init__(self, layout: Layout, lower: list[str], work: str) -> None:
        self._layout = layout
        self._lower = lower
        self._target = f"{work}/root"
        self._root = -1
        self._failure: BaseException | None = None
        self._ready = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="view", daemon=True)

    def open(self) -> int:
        os.mkdir(self._target, 0o700)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self._root

    def close(self) -> None:
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._root >= 0:
            os.close(self._root)

    def _run(self) -> None:
        try:
            kernel.unshare(kernel.CLONE_FS | kernel.CLONE_NEWNS)
            kernel.mount("", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
            overlay.mount_overlay(self._layout.layers, self._lower, self._target)
            self._root = os.open(self._target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._failure = Unavailable(
                self._target,
                f"the image's root cannot be mounted: {error.strerror}",
                hint="run as root on a kernel with overlayfs (orlop node check)",
            )
        except BaseException as error:
            self._failure = error
        self._ready.set()
        if self._failure is None:
            self._end.wait()
