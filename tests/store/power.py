"""A disk whose power can be cut: what had reached it at that instant is all that a successor finds.

    with Disk(folder, "ext4") as disk:
        ...                                   # somebody works below disk.path
        with disk.cut() as path:              # another disk, as this one would be after the cut
            ...

The file system stands on a loop device over a file, and that file on an XFS that can clone it: FICLONE takes
the file at one instant between two writes of the block device, while the work goes on. What the kernel still
held in memory for the file system above is lost, as it would be; the journal is replayed by the mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from orlop.kit import kernel
from orlop.kit.process import run

_FICLONE = 0x40049409
_MIB = 1 << 20
#: What makes the file system, and how it is mounted: ext4 with as little order as it can be told to keep.
KINDS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], "data=writeback,delalloc,commit=30"),
    "xfs": (["mkfs.xfs", "-q"], "nouuid"),
}


class Disk:
    """One disk of `size` MiB; a context manager.

    `state` is a folder elsewhere in which those who work on the disk mount files of it.
    """

    def __init__(self, folder: Path, kind: str, state: Path, *, size: int = 400) -> None:
        self._folder = folder
        self._state = state
        self._kind = kind
        self._size = size
        self._held = contextlib.ExitStack()
        self._base = folder / "base"
        self._cuts = 0

    def __enter__(self) -> Disk:
        with contextlib.ExitStack() as made:
            _sparse(self._folder / "base.img", self._size * 12)
            run(["mkfs.xfs", "-q", "-m", "reflink=1", str(self._folder / "base.img")])
            made.enter_context(_mounted(self._folder / "base.img", self._base, "nouuid", self._state))
            _sparse(self._base / "disk.img", self._size)
            make, options = KINDS[self._kind]
            run([*make, str(self._base / "disk.img")])
            made.enter_context(_mounted(self._base / "disk.img", self.path, options, self._state))
            self._held = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        (self._folder / "base.img").unlink()

    @property
    def path(self) -> Path:
        return self._folder / "disk"

    def clone(self) -> Path:
        """The disk as it is at this instant, as a file."""
        self._cuts += 1
        target = self._base / f"cut{self._cuts}.img"
        source = os.open(self._base / "disk.img", os.O_RDONLY | os.O_CLOEXEC)
        try:
            copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.ioctl(copy, _FICLONE, source)
            finally:
                os.close(copy)
        finally:
            os.close(source)
        return target

    @contextlib.contextmanager
    def started(self, clone: Path) -> Iterator[Path]:
        """The file system of a clone, mounted, for the `with` block; the clone is removed after it."""
        place = self._folder / "after"
        try:
            with _mounted(clone, place, KINDS[self._kind][1], self._state):
                yield place
        finally:
            clone.unlink()


def _sparse(path: Path, size: int) -> None:
    with open(path, "wb") as stream:
        stream.truncate(size * _MIB)


@contextlib.contextmanager
def _mounted(image: Path, place: Path, options: str, state: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    run(["mount", "-o", f"loop,{options}", str(image), str(place)])
    try:
        yield
    finally:
        _unmount_below(state)
        _unmount_below(place)
        kernel.umount(str(place))


def _unmount_below(place: Path) -> None:
    """What a store mounted there and left, uppermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line.split()[4] for line in lines if line.split()[4].startswith(f"{place}/")]
    for path in reversed(found):
        kernel.umount(path, kernel.MNT_DETACH)
