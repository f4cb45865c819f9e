"""Read-only roots of images, for people and for volumes. They belong to the machine's present boot."""

from __future__ import annotations

import os

from orlop.kit import files, locks
from orlop.kit.database import Database
from orlop.store import images, overlay
from orlop.store.erofs import mounts
from orlop.store.layout import Layout
from orlop.store.rootfs import empty_folder, lower_folders


def mount_image(layout: Layout, database: Database, name: str) -> str:
    """The path of the image's root, mounted read-only; each name that it is asked by holds it."""
    image_id, canonical = images.resolve(database, name)
    base = layout.image_mount(image_id)
    root = f"{base}/root"
    with locks.hold(layout.image_mount_lock(image_id)):
        files.make_folder(f"{base}/by")
        files.make_folder(root)
        if not overlay.is_mounted(root):
            with lower_folders(layout, database, image_id) as lower:
                while len(lower) < 2:  # what overlayfs wants for a mount without an upper folder
                    lower.append(empty_folder(layout, second=bool(lower)))
                overlay.mount_overlay(layout.layers, lower, root)
        files.write_atomic(f"{base}/by/{_file_name(canonical)}", b"", durable=False)
    return root


def unmount_image(layout: Layout, database: Database, name: str) -> bool:
    """Let go of the root: it goes with the last name that holds it, or at once when asked by id.

    Returns whether it was mounted. Raises ImageUnknown.
    """
    image_id, canonical = images.resolve(database, name)
    was_mounted = release(layout, image_id, canonical)
    mounts.release_idle(layout, database)
    return was_mounted


def release(layout: Layout, image_id: str, canonical: str = "") -> bool:
    """As `unmount_image`, for an image that may be gone already."""
    base = layout.image_mount(image_id)
    if not os.path.isdir(base):
        return False
    with locks.hold(layout.image_mount_lock(image_id)):
        mounted = overlay.is_mounted(f"{base}/root")
        held = set(os.listdir(f"{base}/by")) if os.path.isdir(f"{base}/by") else set()
        others = held - {_file_name(canonical)}
        if canonical and others and mounted:
            files.remove_tree(f"{base}/by/{_file_name(canonical)}")
            return _file_name(canonical) in held
        overlay.unmount(f"{base}/root")
        files.remove_tree(base)
    return mounted


def mounted_images(layout: Layout) -> list[tuple[str, str]]:
    """(image id, path of its root) of what `mount_image` mounted and nobody has taken away."""
    try:
        folders = sorted(os.listdir(layout.image_mounts))
    except FileNotFoundError:
        return []
    found = (
        (f"{'sha512' if len(name) == 128 else 'sha256'}:{name}", f"{layout.image_mounts}/{name}/root")
        for name in folders
    )
    return [(image_id, root) for image_id, root in found if overlay.is_mounted(root)]


def is_image_mounted(layout: Layout, image_id: str) -> bool:
    return overlay.is_mounted(f"{layout.image_mount(image_id)}/root")


def _file_name(canonical: str) -> str:
    """One file a name; the image's id has its own."""
    return canonical.replace("/", "+") if canonical else "@id"
