"""Remove an image, and the layers and blobs that nobody else uses."""

from __future__ import annotations

from orlop.kit import locks
from orlop.kit.database import Database
from orlop.store import images, leases, reserve
from orlop.store.errors import ImageInUse
from orlop.store.image_mounts import is_image_mounted, release
from orlop.store.layout import Layout


def remove_image(layout: Layout, database: Database, name: str, *, force: bool, all_names: bool) -> list[str]:
    """See `Store.remove_image`."""
    from orlop.store.blobs.unused import remove_files
    from orlop.store.prune import forget_unused, remove_folders

    reserve.release(layout)
    image_id = images.resolve(database, name)[0]
    mounted = is_image_mounted(layout, image_id)
    last = all_names or len(images.find(database, image_id).names) <= 1
    if mounted and last and not force:
        raise ImageInUse(
            name, f"is mounted at {layout.image_mount(image_id)}/root", hint=f"orlop image unmount {name}"
        )
    names, removed = images.remove(database, name, force=force or all_names)
    if not removed:
        return names
    release(layout, removed)
    # What others who are at work have asked for stays for `prune`.
    with locks.attempt(layout.removal_lock) as alone:
        if alone:
            _, folders, blobs = forget_unused(database, leases.oldest(layout))
            remove_folders(layout, folders)
            remove_files(layout, database, blobs)
    return [*names, removed]
