"""Overlay mounts of any depth: overlayfs takes 500 lower folders, mount(2) only 4096 bytes of options.

The first way is the mount API of Linux 5.2 with `lowerdir+` (Linux 6.5), one call a layer. Older kernels get
one option string with short names relative to the layers folder, mounted by a thread that stands there.

Options: `index`, `metacopy` and `redirect_dir` are off, whatever the kernel's default is. A diff is shared by
many mounts at once, which `index` forbids; the two others would leave upper folders that mean something only
together with their lowers, so that they could not be copied or inspected. Mounts keep the propagation of the
folder they are in, as podman's do.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Sequence

from orlop.kit import kernel
from orlop.kit.errors import LimitExceeded, OrlopError, Unsupported
from orlop.store.errors import folder_lost

_OPTIONS = (("index", "off"), ("metacopy", "off"), ("redirect_dir", "off"))

# The same numbers on every architecture since Linux 5.2.
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1
_VALUE_LENGTH = 255  # fsconfig(2) takes strings of 256 bytes, the last one 0
_PAGE = 4096
_AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


def mount_overlay(layers: str, lower: Sequence[str], target: str, *, upper: str = "", work: str = "") -> None:
    """Mount at `target`. `lower`: paths relative to the folder `layers`, uppermost first, no repeats.

    Without `upper` the mount is read-only, and overlayfs wants two lower folders.
    Raises Unsupported, LimitExceeded, and Corrupt where a lower folder is gone.
    """
    try:
        try:
            _mount_new(layers, lower, target, upper, work)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            _mount_old(layers, lower, target, upper, work)
    except OSError as error:
        if error.errno == errno.ENOENT:
            for path in lower:
                if not os.path.isdir(f"{layers}/{path}"):
                    raise folder_lost(f"{layers}/{path}") from error
        raise _explained(error, target) from error


def is_mounted(path: str) -> bool:
    """Whether a file system is mounted exactly there (by its device: two stat calls)."""
    try:
        here = os.lstat(path)
        above = os.lstat(os.path.dirname(path))
    except FileNotFoundError:
        return False
    except OSError:
        return True  # a mount that answers no more
    return here.st_dev != above.st_dev


def unmount(path: str) -> bool:
    """Take every mount at `path` away; returns whether there was one.

    A busy one is detached: it is out of sight now, and goes when its last user does.
    """
    found = False
    while True:
        try:
            kernel.umount(path)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return found
            if error.errno != errno.EBUSY:
                raise _explained(error, path) from error
            kernel.umount(path, kernel.MNT_DETACH)
        found = True


def detached_overlay(layers: str, lower: Sequence[str], *, upper: str = "", work: str = "") -> int | None:
    """The descriptor of such a mount that is attached nowhere: it goes with its last user.

    None where the kernel cannot (before Linux 6.5). Raises as `mount_overlay` does.
    """
    try:
        return _mounted(layers, lower, upper, work)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOSYS):
            return None
        raise _explained(error, upper or layers) from error


def _mount_new(layers: str, lower: Sequence[str], target: str, upper: str, work: str) -> None:
    mounted = _mounted(layers, lower, upper, work)
    try:
        _call(_SYS_MOVE_MOUNT, mounted, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(mounted)


def _mounted(layers: str, lower: Sequence[str], upper: str, work: str) -> int:
    with contextlib.ExitStack() as stack:
        # The prefix of all paths: their own folder, or a descriptor where the names would be too long.
        def prefix(path: str) -> str:
            if len(os.fsencode(path)) + max(map(len, lower), default=0) + 1 <= _VALUE_LENGTH:
                return path
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"

        context = _call(_SYS_FSOPEN, b"overlay", 1)
        stack.callback(os.close, context)
        _set(context, "source", "overlay")
        base = prefix(layers)
        for path in lower:
            _set(context, "lowerdir+", f"{base}/{path}")
        if upper:
            _set(context, "upperdir", prefix(upper))
            _set(context, "workdir", prefix(work))
        for key, value in _OPTIONS:
            _set(context, key, value)
        _call(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_SYS_FSMOUNT, context, 1, 0 if upper else _MOUNT_ATTR_RDONLY)


def _mount_old(layers: str, lower: Sequence[str], target: str, upper: str, work: str) -> None:
    options = ["lowerdir=" + ":".join(lower), *(f"{key}={value}" for key, value in _OPTIONS)]
    if upper:
        options += [f"upperdir={_escaped(upper)}", f"workdir={_escaped(work)}"]
    data = ",".join(options)
    if len(os.fsencode(data)) >= _PAGE:
        raise LimitExceeded(
            target, f"{len(lower)} layers are too many for this kernel", hint="use Linux 6.5 or newer"
        )
    import threading

    failures: list[Exception] = []

    def stand_there_and_mount() -> None:
        try:
            kernel.unshare(_CLONE_FS)  # a working folder of this thread's own
            os.chdir(layers)
            kernel.mount("overlay", target, "overlay", 0 if upper else kernel.MS_RDONLY, data)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=stand_there_and_mount)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


_CLONE_FS = 0x200


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def _set(context: int, key: str, value: str) -> None:
    _call(_SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)


def _call(number: int, *arguments: int | bytes | None) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _explained(error: OSError, target: str) -> OrlopError:
    hint = "run as root, on a file system that overlayfs accepts (ext4, xfs with ftype=1); see dmesg"
    return Unsupported(target, f"cannot be mounted: {error.strerror}", hint=hint)
