"""The door to system calls that Python 3.11 does not wrap: mounts, namespaces, openat2, pidfds.

Every function raises OSError with the call and the path in it; callers turn that into an OrlopError
that knows the object. See mount(2), unshare(2), setns(2), openat2(2), syncfs(2).
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

# mount(2)
MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

# umount2(2)
MNT_DETACH = 0x2
UMOUNT_NOFOLLOW = 0x8

# clone(2) flags for unshare(2): the working folder and the name spaces
CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

# The same numbers on every architecture since Linux 5.2.
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_SYMLINKS = 0x10
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
_MOUNT_ATTR_IDMAP = 0x00100000


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, call: str, path: str | bytes = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        name = os.fsdecode(path)
        raise OSError(number, f"{call}: {os.strerror(number)}", name or None)
    return result


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). `fstype` and `data` may be empty, as a bind mount wants them."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            fstype.encode() or None,
            ctypes.c_ulong(flags),
            os.fsencode(data) or None,
        ),
        "mount",
        target,
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2); symbolic links are never followed."""
    _check(_libc.umount2(os.fsencode(target), flags | UMOUNT_NOFOLLOW), "umount2", target)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread only: call it in a thread that ends afterwards."""
    _check(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int = 0) -> None:
    """setns(2) for the calling thread only: call it in a thread that ends afterwards."""
    _check(_libc.setns(fd, kind), "setns")


def openat2(directory: int, path: str | bytes, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): a new file descriptor, close-on-exec. The caller closes it."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    raw = os.fsencode(path)
    return _check(
        _libc.syscall(_SYS_OPENAT2, directory, raw, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))),
        "openat2",
        raw,
    )


def syncfs(fd: int) -> None:
    """syncfs(2): everything written so far to the file system that `fd` is on is durable."""
    _check(_libc.syncfs(fd), "syncfs")


def prctl(option: int, argument: int) -> None:
    """prctl(2) with one argument, such as PR_SET_CHILD_SUBREAPER."""
    _check(_libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0), "prctl")


def open_tree(path: str, *, recursive: bool = False) -> int:
    """open_tree(2): a descriptor of a copy of the mount at `path`, attached nowhere; it goes when closed."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0)
    raw = os.fsencode(path)
    return _check(_libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, raw, ctypes.c_uint(flags)), "open_tree", raw)


def new_mount(fstype: str, *, source: str = "", attributes: int = 0) -> int:
    """fsopen(2), fsconfig(2) and fsmount(2): a descriptor of a new file system's mount, attached nowhere.

    `attributes` are MOUNT_ATTR_*; a `source` has at most 255 bytes.
    """
    context = _check(_libc.syscall(_SYS_FSOPEN, fstype.encode(), 1), "fsopen", fstype)
    try:
        if source:
            name = (_SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, b"source", os.fsencode(source), 0)
            _check(_libc.syscall(*name), "fsconfig", source)
        create = (_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        _check(_libc.syscall(*create), "fsconfig", source or fstype)
        return _check(_libc.syscall(_SYS_FSMOUNT, context, 1, attributes), "fsmount", source or fstype)
    finally:
        os.close(context)


def mount_setattr(
    tree: int, *, attributes: int = 0, user_namespace: int = -1, propagation: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2): set MOUNT_ATTR_* of the mount that `tree` is the root of, before it is attached.

    With the descriptor of a `user_namespace` the mount is idmapped by it.
    """
    if user_namespace >= 0:
        attributes |= _MOUNT_ATTR_IDMAP
    what = _MountAttr(attributes, 0, propagation, max(user_namespace, 0))
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    size = ctypes.c_size_t(ctypes.sizeof(what))
    result = _libc.syscall(_SYS_MOUNT_SETATTR, tree, b"", ctypes.c_uint(flags), ctypes.byref(what), size)
    _check(result, "mount_setattr")


def move_mount(tree: int, target: str) -> None:
    """move_mount(2): attach what `open_tree` or fsmount(2) gave at `target`, whose last link is followed."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_SYMLINKS
    result = _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags))
    _check(result, "move_mount", target)


def bind_idmapped(source: str, target: str, user_namespace: str, *, recursive: bool = False) -> None:
    """Mount `source` at `target`, its IDs seen through the user namespace that is pinned at this path.

    Of mounts below `source`, which `recursive` brings along, the IDs stay as they are.
    """
    tree = open_tree(source, recursive=recursive)
    try:
        namespace = os.open(user_namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mount_setattr(tree, user_namespace=namespace)
        finally:
            os.close(namespace)
        move_mount(tree, target)
    finally:
        os.close(tree)
