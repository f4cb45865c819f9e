"""Who `USER` is in an image: its /etc/passwd and /etc/group, read as hostile input.

The files are opened below the image's root only (openat2 RESOLVE_IN_ROOT), are regular files of bounded
size, and IDs beyond 2^31-1 are refused (CVE-2024-40635: an overflow made root of them).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, LimitExceeded
from orlop.kit.value import dataclass

MAX_ID = 2**31 - 1
_POLICIES = ("image", "merge", "strict")


@dataclass(frozen=True)
class User:
    """Who a process is. `home` is "/" where the image does not say."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"
    name: str = ""


def resolve(rootfs: str, user: str, extra_groups: tuple[int, ...] = (), groups_policy: str = "image") -> User:
    """`user` is "", "uid", "name", "uid:gid", "name:group" or a mixture, as an image's config has it.

    The groups are `extra_groups`, the primary one (else a file that shuts a group out would let in who has it
    only as the primary one: CVE-2022-2995's class), and those that list the user in /etc/group: with the
    policy "merge"; with "image" where no group is named, as everybody's `USER` does; never with "strict".
    Raises InvalidInput (unknown name, ID out of range) and LimitExceeded (a file without end).
    """
    if groups_policy not in _POLICIES:
        raise InvalidInput(f"groups policy {groups_policy!r}", "is unknown", hint="merge, strict or image")
    for extra in extra_groups:
        _checked(str(extra), extra)
    who, colon, group = user.partition(":")
    try:
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(
            rootfs, f"is no root file system: {error.strerror}", hint="mount it first"
        ) from error
    try:
        name, uid, gid, home = _passwd(root, who or "0")
        listed = name and (groups_policy == "merge" or (groups_policy == "image" and not (colon and group)))
        groups = {number for _, number, members in _groups(root) if name in members} if listed else set()
        if colon and group:
            gid = _group(root, group)
        groups |= {*extra_groups, gid}
    finally:
        os.close(root)
    return User(uid, gid, tuple(sorted(groups)), home, name)


def _passwd(root: int, who: str) -> tuple[str, int, int, str]:
    """Name, uid, gid and home of a name or a number; a number may be unknown to the file."""
    number = _number(who)
    for fields in _lines(root, "/etc/passwd", 7):
        uid, gid = _plain(fields[2]), _plain(fields[3])
        if uid is None or gid is None:
            continue
        # A number is never a name: a line that calls its root "1000" must not catch who asks for user 1000.
        if fields[0] != who if number is None else uid != number:
            continue
        return fields[0], _checked(who, uid), _checked(who, gid), _home(fields[5])
    if number is None:
        raise InvalidInput(
            f"user {who}", "is not in the image's /etc/passwd", hint="give a number, or another name"
        )
    return "", number, 0, "/"


def _group(root: int, group: str) -> int:
    number = _number(group)
    if number is not None:
        return number
    for name, gid, _ in _groups(root):
        if name == group:
            return _checked(group, gid)
    raise InvalidInput(
        f"group {group}", "is not in the image's /etc/group", hint="give a number, or another name"
    )


def _groups(root: int) -> Iterator[tuple[str, int, list[str]]]:
    for fields in _lines(root, "/etc/group", 4):
        gid = _plain(fields[2])
        if gid is not None and gid <= MAX_ID:
            yield fields[0], gid, fields[3].split(",")


def _lines(root: int, path: str, columns: int) -> Iterator[list[str]]:
    for line in _read(root, path).split("\n"):
        fields = line.strip("\r").split(":")
        if len(fields) >= columns and fields[0]:
            yield fields


def _read(root: int, path: str) -> str:
    try:
        found = files.open_in_root(root, path, os.O_PATH)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO):
            return ""
        raise InvalidInput(
            path, f"cannot be read in the image: {error.strerror}", hint="mend the image"
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):  # merely opening a device may do something
            raise InvalidInput(path, "is no regular file in the image", hint="do not trust this image")
        descriptor = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)
    with open(descriptor, "rb") as stream:
        data = stream.read(limits.ETC_PASSWD_SIZE + 1)
    if len(data) > limits.ETC_PASSWD_SIZE:
        raise LimitExceeded(
            path,
            f"is longer than {limits.ETC_PASSWD_SIZE} bytes in the image",
            hint="do not trust this image",
        )
    return data.decode(errors="replace")


def _number(text: str) -> int | None:
    """A decimal ID, or None for a name. Raises InvalidInput beyond MAX_ID, or where it has a sign."""
    if text[:1] in "+-" and text[1:].isdigit():
        raise InvalidInput(
            f"user {text}", "is negative or has a sign", hint="give a number from 0 to 2147483647"
        )
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > 10:
        raise _out_of_range(text)
    return _checked(text, int(text))


def _plain(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _checked(who: str, number: int) -> int:
    if not 0 <= number <= MAX_ID:
        raise _out_of_range(who)
    return number


def _out_of_range(who: str) -> InvalidInput:
    return InvalidInput(f"user {who}", "its ID is out of range", hint=f"give a number from 0 to {MAX_ID}")


def _home(text: str) -> str:
    """A home that can stand in an environment (no control characters: CVE-2024-9676's class)."""
    return text if text.startswith("/") and text.isprintable() else "/"
