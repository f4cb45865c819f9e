"""Images mounted into containers as volumes (KEP-4639): each container has mounts of its own, read-only.

That an image is used so is a row, written before the mount, so that no removal comes between; it goes with
the container's file system, as the mounts do. A reboot takes the mounts alone: nothing runs in them then.
"""

from __future__ import annotations

import os
import sqlite3

from orlop.kit import kernel, locks
from orlop.kit.database import Database
from orlop.store import images, overlay
from orlop.store.errors import ImageUnknown
from orlop.store.layout import Layout
from orlop.store.mapped import release_view
from orlop.store.rootfs import empty_folder, lower_folders

#: As the KEP has it, and no devices or set-user-ID programs of somebody's image either.
_FLAGS = kernel.MS_NOEXEC | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_RDONLY


def mount(layout: Layout, database: Database, container_id: str, image: str, user_namespace: str) -> str:
    """See `Store.mount_volume`."""
    image_id = images.resolve(database, image)[0]
    base = f"{layout.volumes(container_id)}/{image_id.partition(':')[2][:32]}"
    root = f"{base}/root"
    with locks.hold(layout.container_lock(container_id)):
        os.makedirs(os.path.dirname(layout.volumes(container_id)), mode=0o700, exist_ok=True)
        os.makedirs(root, mode=0o700, exist_ok=True)
        _record(database, container_id, image_id)
        if overlay.is_mounted(root):
            return root
        with lower_folders(layout, database, image_id) as lower:
            while len(lower) < 2:  # what overlayfs wants for a mount without an upper folder
                lower.append(empty_folder(layout, second=bool(lower)))
            if user_namespace:
                from orlop.store import mapped

                with mapped.view(layout, base, lower, user_namespace) as (layers, seen):
                    overlay.mount_overlay(layers, seen, root)
            else:
                overlay.mount_overlay(layout.layers, lower, root)
        kernel.mount("", root, "", kernel.MS_REMOUNT | kernel.MS_BIND | _FLAGS)
    return root


def holders(layout: Layout) -> list[str]:
    """The containers that have such mounts, or what is left of them."""
    folder = os.path.dirname(layout.volumes("x"))
    return os.listdir(folder) if os.path.isdir(folder) else []


def release(layout: Layout, container_id: str) -> None:
    """Unmount all of the container's and remove their places; idempotent. The caller holds its lock."""
    folder = layout.volumes(container_id)
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        release_view(f"{folder}/{name}")
    os.rmdir(folder)


def _record(database: Database, container_id: str, image_id: str) -> None:
    try:
        with database.transaction() as rows:
            rows.execute("INSERT OR IGNORE INTO volumes VALUES (?, ?)", (container_id, image_id))
    except sqlite3.IntegrityError:  # it was removed since it was resolved
        raise ImageUnknown(image_id, "is not in the store", hint="pull it first") from None
