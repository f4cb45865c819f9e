"""Extended attributes in an inode, and which of an archive's a file can bear: as ext4 would say."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Mapping

from orlop.store.unpack.writer import is_overlays_own

_HEADER = struct.Struct("<IB7x")  # name filter, shared attributes
_ENTRY = struct.Struct("<BBH")  # length of the name, its prefix, length of the value
_USER, _ACL_ACCESS, _ACL_DEFAULT, _TRUSTED, _SECURITY = 1, 2, 3, 4, 6
_PREFIXES = (("user.", _USER), ("trusted.", _TRUSTED), ("security.", _SECURITY))
_ACLS = {"system.posix_acl_access": _ACL_ACCESS, "system.posix_acl_default": _ACL_DEFAULT}
_VALUE_MAX = 65535
_ROOM = 12 + 4 * 65534  # i_xattr_icount has 16 bits

#: Revisions of security.capability and their sizes (linux/capability.h).
_CAPABILITY = "security.capability"
_CAPABILITY_SIZES = {0x01000000: 12, 0x02000000: 20, 0x03000000: 24}

#: An ACL's tags, and which may follow where: (stage, tag) to the next stage, 0 at the end.
_OWNER, _NAMED_USER, _GROUP, _NAMED_GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_USERS, _GROUPS = _NAMED_USER, _NAMED_GROUP
_STAGES = {
    (_OWNER, _OWNER): _USERS,
    (_USERS, _NAMED_USER): _USERS,
    (_USERS, _GROUP): _GROUPS,
    (_GROUPS, _NAMED_GROUP): _GROUPS,
    (_GROUPS, _MASK): _OTHER,
    (_GROUPS, _OTHER): 0,
    (_OTHER, _OTHER): 0,
}

Xattrs = Mapping[str, bytes]


def kept(given: Xattrs, mode: int) -> dict[str, bytes]:
    """Those of an archive that a file of this mode has then. Raises OSError for what no file system takes."""
    found = {}
    for name, value in sorted(given.items()):
        if is_overlays_own(name):
            continue
        if name in _ACLS:
            if stat.S_ISLNK(mode) or (name.endswith("default") and not stat.S_ISDIR(mode)):
                continue
            if not _is_acl(value):
                continue
        elif not _borne(name, mode):
            continue
        elif any(name == prefix for prefix, _ in _PREFIXES):
            raise _invalid()
        if name == _CAPABILITY:
            _check_capability(value)
        if len(value) > _VALUE_MAX or len(os.fsencode(name)) > 255:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        found[name] = value
    return found


def encoded(xattrs: Xattrs) -> bytes:
    """What follows the inode; empty where there are none. Raises OSError where it is too much."""
    if not xattrs:
        return b""
    parts = [_HEADER.pack(0, 0)]
    for name, value in sorted(xattrs.items()):
        prefix, suffix = _split(name)
        entry = _ENTRY.pack(len(suffix), prefix, len(value)) + suffix + value
        parts.append(entry + bytes(-len(entry) % 4))
    data = b"".join(parts)
    if len(data) > _ROOM:
        raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
    return data


def count(data: bytes) -> int:
    """i_xattr_icount of what `encoded` made."""
    return (len(data) - 12) // 4 + 1 if data else 0


def _borne(name: str, mode: int) -> bool:
    """Whether the file system knows the attribute's class, and this kind of file may have it."""
    if name.startswith("user."):
        return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
    return any(name.startswith(prefix) for prefix, _ in _PREFIXES)


def _split(name: str) -> tuple[int, bytes]:
    if name in _ACLS:
        return _ACLS[name], b""
    for prefix, index in _PREFIXES:
        if name.startswith(prefix):
            return index, os.fsencode(name[len(prefix) :])
    raise _invalid()


def _check_capability(value: bytes) -> None:
    revision = int.from_bytes(value[:4], "little") & 0xFF000000
    if len(value) < 4 or _CAPABILITY_SIZES.get(revision) != len(value):
        raise _invalid()


def _is_acl(value: bytes) -> bool:
    """Whether it is one that says more than the mode; what the kernel would not take raises OSError.

    A header (version 2) and entries of 8 bytes: tag, permissions, ID (linux/posix_acl_xattr.h); the order is
    that of posix_acl_valid() of the kernel.
    """
    if len(value) < 4:
        raise _invalid()
    if int.from_bytes(value[:4], "little") != 2:
        return False
    if (len(value) - 4) % 8:
        raise _invalid()
    stage, extended = _OWNER, False
    for tag, permissions, _ in struct.iter_unpack("<HHI", value[4:]):
        following = _STAGES.get((stage, tag))
        if following is None or permissions & ~7 or ((stage, tag) == (_GROUPS, _OTHER) and extended):
            raise _invalid()
        extended |= tag in (_NAMED_USER, _NAMED_GROUP, _MASK)
        stage = following
    if stage not in (_OWNER, 0):
        raise _invalid()
    return extended


def _invalid() -> OSError:
    return OSError(errno.EINVAL, os.strerror(errno.EINVAL))
