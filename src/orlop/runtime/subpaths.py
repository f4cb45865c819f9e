"""Mounts of a part of a volume, and with mapped IDs: resolved once, and held by a mount of ours.

Naming the resolved path again to the runtime would let the volume's owner swap a link in between
(CVE-2017-1002101, CVE-2021-25741): so what was opened is bind-mounted below the bundle, and that is named.
"""

from __future__ import annotations

import contextlib
import errno
import os

from orlop.kit import files, kernel
from orlop.kit.errors import InvalidInput, NotFound, Unsupported
from orlop.runtime.model import ContainerSpec, Mount

_FOLDER = "subpaths"


def prepare(bundle: str, spec: ContainerSpec) -> dict[int, str]:
    """The places to mount from, by the index of each mount that has a sub_path or mappings of IDs.

    Absent folders of a sub_path are made, but not in an image. Raises InvalidInput where a part leads out of
    its volume, NotFound where an image has no such part, Unsupported where a mount cannot be idmapped.
    """
    places: dict[int, str] = {}
    for index, mount in enumerate(spec.mounts):
        mapped = bool(mount.uid_mappings or mount.gid_mappings)
        if mapped and (mount.uid_mappings, mount.gid_mappings) != (spec.uid_mappings, spec.gid_mappings):
            raise Unsupported(
                f"mount of {mount.source} at {mount.destination}",
                "its mappings are not those of the pod's user namespace",
                hint="give the pod's",
            )
        if mount.source and (mount.sub_path or mapped):
            places[index] = _held(bundle, index, mount, spec.namespaces.user if mapped else "")
    return places


def release(bundle: str) -> None:
    """Take all of the bundle's places away; idempotent."""
    folder = os.path.join(bundle, _FOLDER)
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        place = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            while True:
                kernel.umount(place, kernel.MNT_DETACH)
        with contextlib.suppress(OSError):
            (os.rmdir if os.path.isdir(place) else os.unlink)(place)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def _held(bundle: str, index: int, mount: Mount, user_namespace: str) -> str:
    subject = f"mount of {mount.image or mount.source} at {mount.destination}"
    if mount.sub_path.startswith("/") or ".." in mount.sub_path.split("/"):
        raise InvalidInput(subject, f"sub path {mount.sub_path} leads out of it", hint="give a path inside")
    try:
        if mount.image:
            opened = _open_in_image(mount.source, mount.sub_path)
        elif mount.sub_path:
            opened = _open(mount.source, mount.sub_path)
        else:
            opened = os.open(mount.source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NotFound(
                subject, f"there is no {mount.sub_path or mount.source}", hint="give a path that is there"
            ) from error
        raise InvalidInput(
            subject, f"sub path {mount.sub_path}: {error.strerror}", hint="give a path inside the volume"
        ) from error
    try:
        folder = files.make_folder(os.path.join(bundle, _FOLDER))
        place = os.path.join(folder, str(index))
        if os.path.isdir(f"/proc/self/fd/{opened}"):
            os.makedirs(place, exist_ok=True)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_CLOEXEC, 0o600))
        source = f"/proc/self/fd/{opened}"
        if user_namespace:
            kernel.bind_idmapped(source, place, user_namespace, recursive=True)
        else:
            kernel.mount(source, place, flags=kernel.MS_BIND | kernel.MS_REC)
    except OSError as error:
        if not user_namespace:
            raise
        raise Unsupported(
            subject,
            f"its file system cannot be mounted with mapped IDs: {error.strerror}",
            hint="use one that can (ext4, xfs, btrfs; tmpfs since Linux 6.3)",
        ) from error
    finally:
        os.close(opened)
    return place


def _open_in_image(root: str, sub_path: str) -> int:
    """An O_PATH descriptor of what is there, the image's root being `/` (absolute links of it mean that)."""
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return files.open_in_root(top, sub_path or "/", os.O_PATH)
    finally:
        os.close(top)


def _open(source: str, sub_path: str) -> int:
    """An O_PATH descriptor of the part, made as a folder where it is absent. Links must stay beneath."""
    beneath = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_MAGICLINKS
    root = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            return kernel.openat2(root, sub_path, os.O_PATH, resolve=beneath)
        parts = [part for part in sub_path.split("/") if part not in ("", ".")]
        for depth in range(1, len(parts) + 1):
            above = "/".join(parts[: depth - 1]) or "."
            parent = kernel.openat2(root, above, os.O_PATH | os.O_DIRECTORY, resolve=beneath)
            try:
                os.mkdir(parts[depth - 1], 0o755, dir_fd=parent)
            except OSError as error:
                if error.errno != errno.EEXIST:
                    raise
            finally:
                os.close(parent)
        return kernel.openat2(root, sub_path, os.O_PATH, resolve=beneath)
    finally:
        os.close(root)
