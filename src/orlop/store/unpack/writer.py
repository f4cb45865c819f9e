"""What an archive's entries become: the port behind `extract`, with two writers that pass the same tests.

`files.FileWriter` makes files below a folder; `orlop.store.erofs.writer.ErofsWriter` makes an index over the
archive itself. Whatever an entry may ask for is decided in `extract`, before a writer sees it.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from orlop.store.unpack import tar
from orlop.store.unpack.tree import Path

F = TypeVar("F")

OPAQUE_XATTR = "trusted.overlay.opaque"
ORIGIN_XATTR = "trusted.overlay.origin"
_OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")

_SECOND = 1_000_000_000
_TIME_MAX = 2**34 - 1  # what ext4 can say
_TIME_MIN = -(2**31)


class Writer(Protocol[F]):
    """Entries in the archive's order; F is what a writer calls a folder.

    Raises HostileArchive and Corrupt; OSError for what no file system takes and for the machine's faults.
    Paths that are handed over are real ones: no part of them is a link.
    """

    #: Real paths that a whiteout of this layer names: a folder that comes to be there is opaque.
    whited: set[Path]

    @property
    def count(self) -> int:
        """Names that are there, the root's included."""

    def parent(self, path: Path) -> tuple[F, Path]:
        """The folder `path`, made with its parents where absent, and its real path: links are followed."""

    def found(self, path: Path) -> tuple[int, int] | None:
        """Mode and device of what is at the real `path`; None where nothing is."""

    def file(self, entry: tar.Entry, archive: tar.Archive, folder: F, path: Path) -> None: ...

    def folder(self, entry: tar.Entry, folder: F, path: Path) -> None:
        """A folder that is there already stays, and what is in it; it is dressed anew."""

    def root(self, entry: tar.Entry) -> None:
        """The root's own owner, mode, time and attributes."""

    def symlink(self, entry: tar.Entry, folder: F, path: Path) -> None: ...

    def hard_link(self, wanted: Path, folder: F, path: Path) -> bool:
        """One more name of what is at `wanted`; False where that is nothing, or a folder."""

    def device(self, entry: tar.Entry, kind: int, folder: F, path: Path) -> None:
        """A device or a FIFO; `kind` is the file type's bits of st_mode."""

    def whiteout(self, folder: F, path: Path) -> None:
        """The name hides what is below, and nothing is there in this layer."""

    def opaque(self, folder: F, path: Path) -> None:
        """Nothing that lower layers have in `folder`, which is at `path`, is seen."""

    def finish(self) -> None:
        """After the last entry."""

    def close(self) -> None: ...


def is_overlays_own(name: str) -> bool:
    """overlayfs' own attributes are said by whiteouts only; an archive's are dropped."""
    return name.startswith(_OVERLAY_XATTRS)


def when(entry: tar.Entry) -> int:
    """The entry's time in nanoseconds, within what file systems can say."""
    return min(max(entry.mtime, _TIME_MIN * _SECOND), _TIME_MAX * _SECOND)
