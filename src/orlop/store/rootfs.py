"""Container file systems: an image's layers below, a folder of the container's own above."""

from __future__ import annotations

import contextlib
import os

from orlop.kit import locks
from orlop.kit.database import Database
from orlop.kit.errors import Conflict, InvalidInput, Unavailable
from orlop.store import overlay
from orlop.store.errors import ImageUnknown, RootfsUnknown, folder_lost
from orlop.store.layout import Layout

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def create_rootfs(layout: Layout, database: Database, container_id: str, image_id: str) -> None:
    """A file system for the container, on the image; the same asked again is harmless.

    Raises ImageUnknown, InvalidInput, and Conflict where the container has one on another image.
    """
    if not container_id or not _NAME.issuperset(container_id) or container_id.startswith("."):
        raise InvalidInput(container_id, "is no container id", hint="use letters, digits, `_`, `.` and `-`")
    with locks.hold(layout.container_lock(container_id)):
        if _known(database, container_id, image_id):
            return
        if os.path.lexists(layout.rootfs(container_id)):
            _discard(layout, container_id)  # left by a removal or a creation that was killed
        _make_folders(layout, container_id)
        with database.transaction() as rows:
            if rows.execute("SELECT 1 FROM images WHERE id = ?", (image_id,)).fetchone() is None:
                raise ImageUnknown(image_id, "no such image in the store", hint="pull it first")
            rows.execute(
                "INSERT INTO rootfs (container_id, image_id) VALUES (?, ?)", (container_id, image_id)
            )


def _known(database: Database, container_id: str, image_id: str) -> bool:
    known = database.query("SELECT image_id FROM rootfs WHERE container_id = ?", (container_id,))
    if known and known[0]["image_id"] != image_id:
        raise Conflict(
            container_id,
            f"has a file system on another image, {known[0]['image_id']}",
            hint="remove the container first",
        )
    return bool(known)


def mount_rootfs(
    layout: Layout,
    database: Database,
    container_id: str,
    user_namespace: str = "",
    owner: tuple[int, int] = (0, 0),
) -> str:
    """Mount it, if it is not, and return where. Raises RootfsUnknown.

    With the path of a pinned `user_namespace` the files of the image are its users', and so is what the
    container writes; `owner` are the IDs of its root.
    """
    of_users = f"{layout.mapped(container_id)}/root"
    merged = of_users if user_namespace else layout.merged(container_id)
    with locks.hold(layout.container_lock(container_id)):
        for place in (merged, of_users):  # never two at once on one upper folder
            if overlay.is_mounted(place):
                return place
        image_id = _image_of(database, container_id)
        _make_folders(layout, container_id)
        with lower_folders(layout, database, image_id) as lower:
            if user_namespace:
                from orlop.store import mapped

                with mapped.layers(layout, container_id, lower, user_namespace, owner) as (layers, seen):
                    _mount(layout, layers, seen, container_id, merged)
            else:
                if not os.path.exists(merged):
                    os.makedirs(layout.mounts, mode=0o700, exist_ok=True)
                    os.makedirs(merged, mode=0o700, exist_ok=True)
                _mount(layout, layout.layers, lower, container_id, merged)
    return merged


def _mount(layout: Layout, layers: str, lower: list[str], container_id: str, merged: str) -> None:
    """`lower` are relative to the folder `layers`."""
    base = layout.rootfs(container_id)
    if not os.path.exists(f"{base}/dressed"):
        _dress(layers, lower, base)
    overlay.mount_overlay(
        layers,
        lower or [empty_folder(layout)],
        merged,
        upper=f"{base}/upper",
        work=f"{base}/work",
    )


def unmount_rootfs(layout: Layout, container_id: str) -> None:
    """Unmount it; harmless where it is not mounted."""
    with locks.hold(layout.container_lock(container_id)):
        _unmount(layout, container_id)


def remove_rootfs(layout: Layout, database: Database, container_id: str) -> None:
    """Unmount and remove it with all that the container wrote; harmless where there is none.

    The images that were mounted into the container go with it (`image_volumes`).
    """
    with locks.hold(layout.container_lock(container_id)):
        _unmount(layout, container_id)
        if os.path.exists(layout.volumes(container_id)):
            from orlop.store import image_volumes

            image_volumes.release(layout, container_id)
        try:
            _forget(database, container_id)
        except Unavailable:  # the disk is full, perhaps of what goes now
            from orlop.store import reserve

            reserve.release(layout)
            _forget(database, container_id)
        if os.path.lexists(layout.rootfs(container_id)):
            _discard(layout, container_id)


def _forget(database: Database, container_id: str) -> None:
    with database.transaction() as rows:
        rows.execute("DELETE FROM rootfs WHERE container_id = ?", (container_id,))
        rows.execute("DELETE FROM volumes WHERE container_id = ?", (container_id,))


def rootfs_usage(layout: Layout, database: Database, container_id: str) -> tuple[int, int]:
    """Bytes and inodes that the container wrote. Raises RootfsUnknown."""
    _image_of(database, container_id)
    return tree_usage(f"{layout.rootfs(container_id)}/upper")


def rootfs_list(database: Database) -> list[str]:
    rows = database.query("SELECT container_id FROM rootfs ORDER BY container_id")
    return [row["container_id"] for row in rows]


def tree_usage(path: str) -> tuple[int, int]:
    """Bytes on the disk and inodes below `path`, each hard-linked file once; what vanishes meanwhile is 0."""
    total, seen = 0, set()
    pending = [path]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_ino not in seen:
                        seen.add(status.st_ino)
                        total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:  # gone meanwhile, or deeper than a path can say: a container may make such
            continue
    return total, len(seen)


def _image_of(database: Database, container_id: str) -> str:
    rows = database.query("SELECT image_id FROM rootfs WHERE container_id = ?", (container_id,))
    if not rows:
        raise RootfsUnknown(container_id, "has no file system in the store", hint="see: orlop ps --all")
    return str(rows[0]["image_id"])


def _make_folders(layout: Layout, container_id: str) -> None:
    base = layout.rootfs(container_id)
    try:
        os.mkdir(base, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(base, mode=0o700, exist_ok=True)
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        try:
            os.mkdir(f"{base}/{name}", mode)
        except FileExistsError:
            continue


def _dress(layers: str, lower: list[str], base: str) -> None:
    """The merged root's owner and mode are the upper folder's: give it the uppermost layer's, once."""
    dress(layers, lower, f"{base}/upper")
    os.close(os.open(f"{base}/dressed", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def dress(layers: str, lower: list[str], upper: str) -> None:
    """Give the folder `upper` owner and mode of the uppermost layer's root."""
    if lower:
        try:
            status = os.stat(f"{layers}/{lower[0]}")
        except FileNotFoundError as error:
            raise folder_lost(f"{layers}/{lower[0]}") from error
        os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, status.st_mode & 0o7777)


def empty_folder(layout: Layout, *, second: bool = False) -> str:
    """An empty folder where overlayfs wants one more, relative to layers/."""
    name = "empty2" if second else "empty"
    os.makedirs(layout.layers, mode=0o700, exist_ok=True)
    os.makedirs(f"{layout.root}/{name}", mode=0o755, exist_ok=True)
    return f"../{name}"


def _unmount(layout: Layout, container_id: str) -> None:
    merged = layout.merged(container_id)
    overlay.unmount(merged)
    try:
        os.rmdir(merged)
    except FileNotFoundError:
        if os.path.exists(layout.mapped(container_id)):
            from orlop.store import mapped

            mapped.release(layout, container_id)


def _discard(layout: Layout, container_id: str) -> None:
    from orlop.store.workspace import discard

    discard(layout.tmp, layout.rootfs(container_id))


@contextlib.contextmanager
def lower_folders(
    layout: Layout, database: Database, image_id: str, *, passing: bool = False
) -> Iterator[list[str]]:
    """The diffs of an image for overlayfs: paths relative to layers/, uppermost first, each once.

    They are there, mounted where they are images, until the block ends; overlayfs keeps what it has.
    `passing`: what was mounted for the block goes with it.
    overlayfs refuses a folder given twice, and of equal diffs only the uppermost can be seen anyway.
    Raises ImageUnknown.
    """
    names: dict[str, str] = {}
    rows = database.query(
        "SELECT d.name, d.opaque, d.form FROM image_layers i JOIN layers l ON l.chain_id = i.chain_id"
        " JOIN diffs d ON d.diff_id = l.diff_id WHERE i.image_id = ? ORDER BY i.position DESC",
        (image_id,),
    )
    for row in rows:
        names.setdefault(row["name"], row["form"])
        if row["opaque"]:  # the layer hides all below it
            break
    if not names and not database.query("SELECT 1 FROM images WHERE id = ?", (image_id,)):
        raise ImageUnknown(image_id, "is not in the store", hint="pull the image again")
    if "erofs" not in names.values():
        yield [f"{name}/diff" for name in names]
        return
    from orlop.store.erofs import mounts

    with mounts.held(layout, list(names.items()), passing=passing) as lower:
        yield lower
