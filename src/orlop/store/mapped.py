"""What a container in a user namespace needs of the store: layers whose files are its users'.

overlayfs cannot be idmapped itself; its lower folders can be (Linux 5.19). So the folder of all layers is
bind-mounted once more through the user namespace, overlayfs is mounted on that, keeps it, and our mount goes
at once. The upper folder is not idmapped: what the container writes belongs to its users on the disk, too, so
that a set-user-ID file in it is nobody's way to the machine's root.
"""

from __future__ import annotations

import contextlib
import os

from orlop.kit import kernel
from orlop.kit.errors import Unsupported
from orlop.store import overlay
from orlop.store.layout import Layout

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PASS = 0o711


@contextlib.contextmanager
def layers(
    layout: Layout, container_id: str, lower: Sequence[str], user_namespace: str, owner: tuple[int, int]
) -> Iterator[tuple[str, list[str]]]:
    """As `view`, with a place `root` beside it to mount at.

    The caller holds the container's lock. Raises Unsupported where the kernel or the file system cannot.
    """
    base = folder(layout, container_id, owner)
    with contextlib.suppress(FileExistsError):
        os.mkdir(f"{base}/root", 0o700)
    upper = f"{layout.rootfs(container_id)}/upper"
    if not os.path.exists(f"{layout.rootfs(container_id)}/dressed"):
        os.chown(upper, *owner)
    with view(layout, base, lower, user_namespace) as seen:
        yield seen


def folder(layout: Layout, identifier: str, owner: tuple[int, int]) -> str:
    """A folder, made now, for a container or a pod: its root may pass through it, and nobody else."""
    base = layout.mapped(identifier)
    _open_way(layout, os.path.dirname(base))
    with contextlib.suppress(FileExistsError):
        os.mkdir(base, 0o710)
    os.chown(base, -1, owner[1])
    return base


def _open_way(layout: Layout, folder: str) -> None:
    """`folder` is there afterwards, and everybody may pass through it, but not list it."""
    os.makedirs(folder, mode=_PASS, exist_ok=True)
    for own in (layout.state, folder):
        mode = os.stat(own).st_mode
        if mode & _PASS != _PASS:
            os.chmod(own, mode & 0o7777 | _PASS)
    above = os.path.dirname(layout.state)
    while above != "/":
        if not os.stat(above).st_mode & 1:
            raise Unsupported(
                f"folder {above}",
                "lets nobody but its owner pass, and the root of a user namespace must",
                hint=f"chmod o+x {above}, or choose another --state",
            )
        above = os.path.dirname(above)


@contextlib.contextmanager
def view(
    layout: Layout, base: str, lower: Sequence[str], user_namespace: str
) -> Iterator[tuple[str, list[str]]]:
    """The folder of layers through the user namespace, mounted below the folder `base` for the block, and the
    paths `lower` as they are relative to it. Layers that are mounts of their own are mounted once more, too.
    """
    place = f"{base}/layers"
    for path in (place, layout.layers):
        os.makedirs(path, mode=0o700, exist_ok=True)
    for name in ("empty", "empty2"):  # where `rootfs.empty_folder` is, seen from the layers
        os.makedirs(f"{base}/{name}", mode=0o755, exist_ok=True)
    seen = []
    try:
        kernel.bind_idmapped(layout.layers, place, user_namespace)
        for number, path in enumerate(lower):
            if path.startswith("../") and not path.startswith("../empty"):
                mounted = f"{base}/mounted/{number}"
                os.makedirs(mounted, mode=0o700, exist_ok=True)
                kernel.bind_idmapped(f"{layout.layers}/{path}", mounted, user_namespace)
                path = f"../mounted/{number}"
            seen.append(path)
    except OSError as error:
        raise Unsupported(
            f"file system of {layout.layers}",
            f"cannot be mounted for a user namespace: {error.strerror}",
            hint="use Linux 6.3 or newer and a file system with idmapped mounts (ext4, xfs, btrfs)",
        ) from error
    try:
        yield place, seen
    finally:
        _release_layers(base)


def _release_layers(base: str) -> None:
    overlay.unmount(f"{base}/layers")
    with contextlib.suppress(FileNotFoundError):
        for number in os.listdir(f"{base}/mounted"):
            overlay.unmount(f"{base}/mounted/{number}")
            os.rmdir(f"{base}/mounted/{number}")


def release_view(base: str) -> None:
    """Take away what `view` and a mount at its `root` made, mounts first; idempotent."""
    overlay.unmount(f"{base}/root")
    _release_layers(base)
    for name in ("root", "layers", "mounted", "empty", "empty2", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{base}/{name}")


def holders(layout: Layout) -> list[str]:
    """The containers that have such a root, or what is left of one."""
    folder = os.path.dirname(layout.mapped("x"))
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in names if os.path.isdir(f"{folder}/{name}/root")]


def release(layout: Layout, container_id: str) -> None:
    """Take away what `layers` made, mounts first; idempotent. The caller holds the container's lock."""
    release_view(layout.mapped(container_id))
