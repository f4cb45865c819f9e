"""Whether this kernel mounts EROFS from files of the store's file system, and stacks overlayfs on it.

The answer is tried out once in a boot, with an image of one file, and remembered in the state folder.
"""

from __future__ import annotations

import contextlib
import os

from orlop.kit import files
from orlop.kit.errors import OrlopError, Unsupported
from orlop.kit.node import boot_id
from orlop.store import overlay
from orlop.store.erofs import mounts
from orlop.store.layout import Layout
from orlop.store.workspace import work_folder

_ANSWER_SIZE = 200
_CONTENT = b"of one file"


def mountable(layout: Layout) -> bool:
    """Tried, or remembered of this boot and this file system."""
    os.makedirs(layout.root, mode=0o700, exist_ok=True)
    asked = f"{boot_id()} {os.stat(layout.root).st_dev}"
    with contextlib.suppress(OSError, ValueError):
        said = files.read_bounded(layout.erofs_answer, _ANSWER_SIZE).decode()
        if said.startswith(asked + " "):
            return said.endswith(" yes")
    answer = _try(layout)
    os.makedirs(layout.state, mode=0o700, exist_ok=True)
    files.write_atomic(layout.erofs_answer, f"{asked} {'yes' if answer else 'no'}".encode(), durable=False)
    return answer


def unsupported(layout: Layout) -> Unsupported:
    """What is said where erofs was asked for and is not to be had."""
    return Unsupported(
        f"[store] layers = erofs on {layout.root}",
        "this kernel does not mount EROFS from a file there",
        hint='use Linux 6.12 or newer and a root on ext4, xfs or btrfs; or layers = "auto"',
    )


def _try(layout: Layout) -> bool:
    from orlop.store.erofs.target import ErofsTarget
    from orlop.store.unpack import tar

    with work_folder(layout.tmp) as work:
        target = ErofsTarget(f"{work}/image", "a trial", "sha256:" + "0" * 64)
        try:
            entry = tar.Entry(b"file", tar.REGULAR, len(_CONTENT))
            entry.mode = 0o644
            target.write(_CONTENT + bytes(-len(_CONTENT) % tar.BLOCK))
            target.writer.file(entry, tar.Archive(lambda: None, "a trial"), target.writer.top, (b"file",))
            target.finish()
        finally:
            target.close()
        for name in ("lower", "empty", "merged"):
            os.mkdir(f"{work}/{name}")
        try:
            mounts.mount_image(f"{work}/image", f"{work}/lower")
            overlay.mount_overlay(work, ["lower", "empty"], f"{work}/merged")
            with open(f"{work}/merged/file", "rb") as stream:
                return stream.read(100) == _CONTENT
        except (OSError, OrlopError):
            return False
        finally:
            overlay.unmount(f"{work}/merged")
            overlay.unmount(f"{work}/lower")
