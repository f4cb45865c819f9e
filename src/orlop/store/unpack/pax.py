"""pax extended headers (IEEE 1003.1-2024, pax, "pax Extended Header") and what they say of an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.kit import limits
from orlop.kit.errors import Corrupt

if TYPE_CHECKING:
    from orlop.store.unpack.tar import Entry

_XATTR = "SCHILY.xattr."
_XATTR_OF_LIBARCHIVE = "LIBARCHIVE.xattr."
_NAMES = {"path": "name", "linkpath": "link"}
_NUMBERS = {"uid": "uid", "gid": "gid", "SCHILY.devmajor": "major", "SCHILY.devminor": "minor"}
_DIGITS = frozenset(b"0123456789")


def parse(data: bytes, subject: str) -> list[tuple[str, bytes]]:
    """The records in order (GNU's sparse format 0.0 repeats keys). Raises Corrupt."""
    records: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        if data[at] == 0:
            break  # padding that some writers leave
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > at else b""
        if not digits or not _DIGITS.issuperset(digits):
            raise _corrupt(subject, "a pax record without its length")
        end = at + int(digits)
        if end > len(data) or end <= space + 1 or data[end - 1 : end] != b"\n":
            raise _corrupt(subject, "a pax record whose length is wrong")
        key, separator, value = data[space + 1 : end - 1].partition(b"=")
        if not separator or not key:
            raise _corrupt(subject, "a pax record without a key")
        try:
            records.append((key.decode(), value))
        except UnicodeDecodeError:
            raise _corrupt(subject, "a pax record whose key is not UTF-8") from None
        at = end
    return records


def apply(entry: Entry, records: dict[str, bytes], subject: str) -> None:
    """What the records say overrides the header's own fields; an empty value leaves them (POSIX)."""
    for key, value in records.items():
        if key.startswith(_XATTR):
            _xattr(entry, key[len(_XATTR) :], value, subject)
        elif key.startswith(_XATTR_OF_LIBARCHIVE):
            _libarchive_xattr(entry, key[len(_XATTR_OF_LIBARCHIVE) :], value, subject)
        elif not value:
            continue
        elif key in _NAMES:
            setattr(entry, _NAMES[key], _name(value, subject))
        elif key in _NUMBERS:
            setattr(entry, _NUMBERS[key], number(value, subject))
        elif key == "mtime":
            entry.mtime = _time(value, subject)
        elif key == "size":
            entry.size = entry.stored = number(value, subject)
    sparse_name = records.get("GNU.sparse.name")
    if sparse_name:
        entry.name = _name(sparse_name, subject)


def number(value: bytes, subject: str) -> int:
    """A decimal number without sign. Raises Corrupt."""
    if not value or len(value) > 20 or not _DIGITS.issuperset(value):
        raise _corrupt(subject, f"a pax number that is none: {value[:40]!r}")
    return int(value)


def _name(value: bytes, subject: str) -> bytes:
    if b"\0" in value:
        raise _corrupt(subject, "a name with a zero byte in it")
    return value


def _time(value: bytes, subject: str) -> int:
    """Seconds with an optional fraction and sign, as nanoseconds."""
    text = value.removeprefix(b"-")
    whole, _, fraction = text.partition(b".")
    if len(value) > 64 or not whole or not _DIGITS.issuperset(whole + fraction):
        raise _corrupt(subject, f"a pax time that is none: {value[:40]!r}")
    nanoseconds = int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if value.startswith(b"-") else nanoseconds


def _xattr(entry: Entry, name: str, value: bytes, subject: str) -> None:
    if not name or len(name) > 255 or "\0" in name or len(value) > limits.XATTR_SIZE:
        raise _corrupt(subject, f"an extended attribute that no file system takes: {name[:40]!r}")
    if entry.xattrs is None:
        entry.xattrs = {}
    entry.xattrs[name] = value


def _libarchive_xattr(entry: Entry, name: str, value: bytes, subject: str) -> None:
    """libarchive writes the name URL-encoded and the value in base64; SCHILY's, where given too, wins."""
    import base64
    import binascii
    from urllib.parse import unquote

    name = unquote(name)
    if entry.xattrs is not None and name in entry.xattrs:
        return
    try:
        decoded = base64.b64decode(value + b"=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        raise _corrupt(subject, f"an extended attribute that is not base64: {name[:40]!r}") from None
    _xattr(entry, name, decoded, subject)


def _corrupt(subject: str, why: str) -> Corrupt:
    return Corrupt(subject, f"its archive is broken: {why}", hint="pull again, or build it again")
