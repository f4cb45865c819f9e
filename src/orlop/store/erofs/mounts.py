"""Layers' images, mounted: each at most once in a boot, shared by all containers and images above it.

state/layers/<n>-<device>-<inode> is where layer <n> is mounted, read-only. It stays until the layer is
removed or the node goes down; after a reboot it is mounted again when it is needed. The name says which file
it is of, so that a mount left from another store at the same place is never taken for it.

Two locks: whoever needs mounts to stay holds `layer_mounts_lock` shared (overlayfs has its own hold on them
as soon as it is mounted), whoever takes mounts away holds it alone; `layer_mount_lock` is held to mount one.
"""

from __future__ import annotations

import contextlib
import os

from orlop.kit import kernel, limits, locks
from orlop.kit.errors import Unsupported
from orlop.store import overlay
from orlop.store.errors import folder_lost
from orlop.store.layout import Layout

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orlop.kit.database import Database

_ATTRIBUTES = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
_SOURCE_LENGTH = 255  # fsconfig(2)


@contextlib.contextmanager
def held(layout: Layout, diffs: Sequence[tuple[str, str]], *, passing: bool = False) -> Iterator[list[str]]:
    """The folders of diffs, given as (name, form): paths relative to layers/, there until the block ends.

    What was mounted for this stays mounted, unless the need is only `passing`. Raises Corrupt where an image
    is gone, Unsupported where it cannot be mounted.
    """
    images = [name for name, form in diffs if form == "erofs"]
    if not images:
        yield [f"{name}/diff" for name, _ in diffs]
        return
    _make_room(layout, len(images))
    before = {place.partition("-")[0] for place in _places(layout)} if passing else set(images)
    try:
        with locks.hold(layout.layer_mounts_lock, shared=True):
            base = os.path.relpath(os.path.realpath(layout.layer_mounts), os.path.realpath(layout.layers))
            yield [
                f"{base}/{_mounted(layout, name)}" if form == "erofs" else f"{name}/diff"
                for name, form in diffs
            ]
    finally:
        release(layout, [name for name in images if name not in before])


def release(layout: Layout, names: Sequence[str]) -> None:
    """Unmount these layers, wherever they are mounted; idempotent. What is mounted above them stays whole.

    Nobody is waited for: while somebody needs mounts to stay (a build may, for long) they do, and go with the
    next `release_idle`. A layer's file can be removed meanwhile; its room is free when the mount is gone.
    """
    wanted = set(names)
    if wanted and any(place.partition("-")[0] in wanted for place in _places(layout)):
        with locks.attempt(layout.layer_mounts_lock) as alone:
            for place in _places(layout) if alone else ():
                if place.partition("-")[0] in wanted:
                    _unmount(layout, place)


def release_idle(layout: Layout, database: Database) -> int:
    """Unmount the layers that no container's image and no mounted image has; returns how many went.

    Who begins to use one meanwhile mounts it again.
    """
    if not _places(layout):
        return 0
    images = {row["image_id"] for row in database.query("SELECT DISTINCT image_id FROM uses")}
    with contextlib.suppress(FileNotFoundError):
        images |= {f"sha256:{name}" for name in os.listdir(layout.image_mounts)}
    busy = {
        row["name"]
        for row in database.query(
            "SELECT i.image_id, d.name FROM image_layers i JOIN layers l ON l.chain_id = i.chain_id"
            " JOIN diffs d ON d.diff_id = l.diff_id"
        )
        if row["image_id"] in images
    }
    idle = {place.partition("-")[0] for place in _places(layout)} - busy
    release(layout, sorted(idle))
    return len(idle)


def release_all(layout: Layout) -> None:
    """Unmount every layer, whoever needs it; idempotent."""
    for place in _places(layout):
        _unmount(layout, place)


def mount_image(image: str, target: str) -> None:
    """Mount the EROFS image in the file `image` at `target`. Raises OSError: ENOTBLK where the kernel or the
    file system that the file is on cannot.
    """
    with contextlib.ExitStack() as stack:
        source = image
        if len(os.fsencode(image)) > _SOURCE_LENGTH:
            file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, file)
            source = f"/proc/self/fd/{file}"
        mount = kernel.new_mount("erofs", source=source, attributes=_ATTRIBUTES)
        stack.callback(os.close, mount)
        kernel.move_mount(mount, target)


def _mounted(layout: Layout, name: str) -> str:
    """The layer's place below `layer_mounts`, mounted now if it was not."""
    image = layout.image_file(name)
    try:
        status = os.stat(image)
    except FileNotFoundError as error:
        raise folder_lost(image) from error
    place = f"{name}-{status.st_dev:x}-{status.st_ino:x}"
    path = f"{layout.layer_mounts}/{place}"
    if overlay.is_mounted(path):
        return place
    with locks.hold(layout.layer_mount_lock):
        if not overlay.is_mounted(path):
            os.makedirs(path, mode=0o700, exist_ok=True)
            try:
                mount_image(image, path)
            except OSError as error:
                raise Unsupported(
                    image,
                    f"cannot be mounted: {error.strerror}",
                    hint="orlop store check tells whether it is damaged; EROFS from a file needs Linux 6.12,"
                    " and other kernels `layers = files` in [store] and a new pull",
                ) from error
    return place


def _make_room(layout: Layout, count: int) -> None:
    """Take away the mounts that are there longest where there would be too many; no container misses them."""
    if len(_places(layout)) + count <= limits.LAYER_MOUNTS:
        return
    with locks.attempt(layout.layer_mounts_lock) as alone:
        if alone:
            places = sorted(_places(layout), key=lambda place: int(place.partition("-")[0]))
            for place in places[: max(count, limits.LAYER_MOUNTS // 4)]:
                _unmount(layout, place)


def _places(layout: Layout) -> list[str]:
    try:
        return os.listdir(layout.layer_mounts)
    except FileNotFoundError:
        return []


def _unmount(layout: Layout, place: str) -> None:
    path = f"{layout.layer_mounts}/{place}"
    overlay.unmount(path)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(path)
